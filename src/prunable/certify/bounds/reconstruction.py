"""Which formulas of Guha, Dubey and Huo (2023) are rebuilt, not read, and from what.

The paper was at hand as a text that had lost its formulas. Statements named here were derived
anew from the words of their proofs; where these leave a choice the one below was taken. What the
released code evaluates is not among them: that is known.
"""

from prunable.certify.bounds.assumptions import Assumption

REBUILT = {
    "lemma 4.2": "Markov's inequality on lemma B.1 at the moments of lemma 4.1",
    "lemma 4.3": "lemma B.2 at the errors of lemma 4.2",
    "lemma 4.4": "lemma B.2 with rounding at rho_l J_l; the words name the factors, not the sum",
    "lemma C.1": "a union over singular directions and examples; constants from the released code",
    "lemma C.2": "lemma B.2 with a factor kappa_l a layer",
    "lemma C.3": "lemma C.2 at the errors of lemma 4.2",
    "lemma C.4": "lemma C.2 with rounding at rho_l J_l",
    "lemma E.1": "3 N / n but for probability n^(-1/3); the words give neither number",
    "lemma 5.1": "Markov's inequality and lemma E.1; 3 chi is the released code's, "
    "lambda_l and d^(-1/3) follow from the steps named",
    "theorem 5.1": "rectangular form of Dasarathy et al. (2013), theorem 1",
    "theorem 5.2": "theorem 3.1 for sketches of 3 lambda_l chi d_1 d_2 ln^2(p) numbers; the sum is "
    "the released code's, lambda_l, ln(1/rho_l) and the failure probability are rebuilt",
    "lemma D.1": "theorem D.1 for C(d_1 d_2, alpha_l) masks and (1/rho_l)^alpha_l values",
    "theorem 6.2": "theorem 3.1 for sketches of the active weights of theorem 6.1",
}


def rebuilt(statement: str) -> Assumption:
    """Say that a statement is not known as printed; KeyError if it is not of `REBUILT`.

    >>> rebuilt("lemma E.1").status
    'unchecked'
    """
    said = f"reconstructed: {REBUILT[statement]}"
    return Assumption(f"{statement} reads so in print", "unchecked", said)
