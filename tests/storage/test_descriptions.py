"""What is kept of botocore's descriptions is what is asked for, and whole."""

import asyncio
from typing import Any

from aiobotocore.session import AioSession

from fastproxy.storage.descriptions import OPERATIONS, descriptions


def model() -> Any:
    """Anew: clients write into theirs."""
    return descriptions.__wrapped__().load_service_model("s3", "service-2")


def test_only_what_is_asked_for_is_kept() -> None:
    assert set(model()["operations"]) == OPERATIONS
    assert "CORSRule" not in model()["shapes"]


def test_what_is_kept_is_what_botocore_says_of_it() -> None:
    whole = AioSession().get_component("data_loader").load_service_model("s3", "service-2")
    kept = model()
    for kind in ("operations", "shapes"):
        assert kept[kind] == {name: whole[kind][name] for name in kept[kind]}


def test_every_shape_that_a_request_or_an_answer_needs_is_there() -> None:
    async def main() -> None:
        session = AioSession()
        session.register_component("data_loader", descriptions())
        async with session.create_client("s3", region_name="eu-west-1") as client:
            for name in OPERATIONS:
                walk(client.meta.service_model.operation_model(name))

    asyncio.run(main())


def walk(operation: Any) -> None:
    seen: set[str] = set()
    pending = [operation.input_shape, operation.output_shape, *operation.error_shapes]
    while pending:
        shape = pending.pop()
        if shape is None or shape.name in seen:
            continue
        seen.add(shape.name)
        pending += getattr(shape, "members", {}).values()
        pending += [getattr(shape, each, None) for each in ("member", "key", "value")]
