"""The same federated rounds as a Flower app: messages travel through its grid as bytes.

Flower brings processes, scheduling and transport; training, pruning, messages and averaging
are those of `rounds`, so both give the same rows.
"""

import os
from functools import lru_cache
from typing import Any

from prunable.errors import RunsFailedError
from prunable.experiments.federate import rounds
from prunable.experiments.federate.specs import FederatedSpec
from prunable.extras import extra
from prunable.nets.federated.message import decode, encode

MODEL, UPDATE, MEMORY = "model", "update", "memory"


def client_app(spec: FederatedSpec) -> Any:
    """Build the Flower `ClientApp` of a run, which answers `train` messages.

    A client is the `partition-id` of its node; its memory of unsent entries is kept in the state of
    its context.
    """
    flower = _flower("flwr.app")
    app = _flower("flwr.clientapp").ClientApp()

    @app.train()  # type: ignore[untyped-decorator, unused-ignore]
    def train(message: Any, context: Any) -> Any:
        federation = _federation(spec)
        client = int(context.node_config["partition-id"])
        request = message.content[MODEL]
        state = federation.model.state_dict() | decode(request["message"]).tensors
        kept = context.state[MEMORY]["message"] if MEMORY in context.state else None
        given = rounds.answer(
            spec,
            federation.model,
            {name: tensor.clone() for name, tensor in state.items()},
            decode(kept).tensors if kept is not None else None,
            federation.examples(client),
            round_=int(request["round"]),
            client=client,
        )
        if given.memory is not None:
            memory = encode(given.memory, n_examples=0, form="dense")
            context.state[MEMORY] = flower.ConfigRecord({"message": memory})
        fields = {"message": given.message or b"", **_packed(given.info)}
        content = flower.RecordDict({UPDATE: flower.ConfigRecord(fields)})
        return flower.Message(content=content, reply_to=message)

    return app


def server_app(spec: FederatedSpec, rows: list[rounds.Row]) -> Any:
    """Build the Flower `ServerApp` of a run, which fills `rows` as `run_rounds` does."""
    flower = _flower("flwr.app")
    app = _flower("flwr.serverapp").ServerApp()

    @app.main()  # type: ignore[untyped-decorator, unused-ignore]
    def main(grid: Any, context: Any) -> None:
        del context
        federation = rounds.federate(spec)
        state = rounds.initial_state(federation)
        for round_ in range(spec.rounds):
            model = rounds.encode_state(state)
            record = flower.ConfigRecord({"message": model, "round": round_})
            requests = [
                flower.Message(
                    content=flower.RecordDict({MODEL: record}),
                    dst_node_id=node,
                    message_type="train",
                )
                for node in grid.get_node_ids()
            ]
            replies = list(grid.send_and_receive(requests))
            for reply in replies:
                if reply.has_error():
                    raise RunsFailedError(
                        f"a client failed in round {round_ + 1}: {reply.error.reason}. "
                        "Run it without Flower to see why."
                    )
            records = sorted((r.content[UPDATE] for r in replies), key=lambda r: r["client"])
            messages = [record["message"] for record in records if record["message"]]
            infos = [_unpacked(record) for record in records]
            state, row = rounds.finish_round(
                spec, federation, state, messages, infos, round_, len(model) * len(requests)
            )
            rows.append(row)

    return app


def run_flower(spec: FederatedSpec) -> list[rounds.Row]:
    """Run rounds on Flower's simulation engine, with the rows of `run_rounds`, bit for bit.

    Nothing is stored; an interrupted run starts anew. Raises InputError if Flower or Ray is not
    installed; RunsFailedError if a client fails, or the training of all diverges. Ray runs as many
    clients at once as there are processor cores.
    """
    rows: list[rounds.Row] = []
    simulation = _flower("flwr.simulation")
    _flower("ray")
    try:
        simulation.run_simulation(
            server_app=server_app(spec, rows),
            client_app=client_app(spec),
            num_supernodes=spec.clients,
            backend_config={"client_resources": {"num_cpus": 1.0, "num_gpus": 0.0}},
        )
    except RuntimeError as error:
        raise RunsFailedError(f"the Flower simulation failed ({error}).") from error
    if len(rows) < spec.rounds:
        raise RunsFailedError(
            f"the Flower simulation ended after {len(rows)} of {spec.rounds} rounds; "
            "its log says why."
        )
    return rows


@lru_cache(maxsize=1)
def _federation(spec: FederatedSpec) -> rounds.Federation:
    """The data and a network, once in each worker process."""
    return rounds.federate(spec)


def _packed(info: rounds.Row) -> rounds.Row:
    """What a client reports, as the scalars that Flower carries."""
    packed = {key: value for key, value in info.items() if isinstance(value, (int, float, str))}
    for key, value in (info["compressibility"] or {}).items():
        if value is not None:
            packed[f"compressibility.{key}"] = value
    return packed


def _unpacked(record: Any) -> rounds.Row:
    info: rounds.Row = {"error": None, "kept": None, "loss": None, "compressibility": None}
    prefix = "compressibility."
    for key, value in record.items():
        if key.startswith(prefix):
            info["compressibility"] = info["compressibility"] or dict.fromkeys(
                ("kappa", "update_weights", "update_units", "model_weights", "model_units")
            )
            info["compressibility"][key.removeprefix(prefix)] = value
        elif key != "message":
            info[key] = value
    return info


def _flower(name: str) -> Any:
    # it reports its use over the network otherwise
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    return extra(name, "simulate federated --engine flower", "flower")
