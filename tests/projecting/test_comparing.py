"""What is stored otherwise than it follows from the log is found, and named."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from clew.projecting import Difference, differences
from tests.projections.living import House, live


def compared(house: House) -> list[Difference]:
    with house.log.reading() as reader:
        return list(differences(reader, list(house.keeper.projections.values())))


def test_what_was_kept_is_what_follows(store: str) -> None:
    async def main() -> None:
        house = await House(store).open()
        await live(house, Random(3), 150)
        assert compared(house) == []
        await house.keeper.follow(house.log, "thread_stats")
        assert compared(house) == []
        await house.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("statement", "table", "kept", "made"),
    [
        ("update items set tokens = tokens + 1 where number = (select min(number) from items)", "items", True, True),
        ("delete from items where number = (select min(number) from items)", "items", False, True),
        ("insert into thread_labels values ('thread_z', 'a', 'x', 1, null)", "thread_labels", True, False),
        ("update threads set until = since + 1 where until is null", "threads", True, True),
        ("update runs set doc = '{}' where until is null", "runs", True, True),
    ],
)
def test_a_row_that_somebody_changed_is_named(store: str, statement: str, table: str, kept: bool, made: bool) -> None:
    async def main() -> None:
        house = await House(store).open()
        await live(house, Random(5), 120)
        await house.log.write(lambda cursor: cursor.execute(statement))
        found = compared(house)
        assert found
        assert {one.table for one in found} == {table}
        assert {(one.kept is not None, one.made is not None) for one in found} == {(kept, made)}
        said = {(True, True): "should be", (False, True): "is missing", (True, False): "follows from no event"}
        assert all(said[kept, made] in str(one) for one in found)
        await house.close()

    asyncio.run(main())
