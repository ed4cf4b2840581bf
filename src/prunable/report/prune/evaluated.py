"""The table of a language model's perplexity."""

from typing import Any

from prunable.report.tables import Column, Table, as_number, table


def evaluated_table(document: dict[str, Any]) -> Table:
    """The perplexity, and how it was measured."""
    length, stride = document["length"], document["stride"]
    apart = "one after the other" if stride == length else f"each {stride:,} after the last"
    notes = (
        f"{document['n_tokens']:,} tokens scored, in {document['n_windows']:,} windows of "
        f"{length:,} of the {document['n_tokens_of_text']:,} tokens of {document['text']}, from "
        f"its start, {apart}; the first token of a window is given. Tokenizer: "
        f"{document['tokenizer']}.",
    )
    row = (document["model"], f"{document['perplexity']:.2f}", as_number(document["nats"], 5))
    titles = (Column("model", words=True, code=True), "perplexity", "nats a token")
    return table(titles, [row], title="Perplexity", notes=notes)
