"""Blocks of the cache: nobody loses one, nobody gets another's, equal beginnings are shared."""

import random

from evident_core.decode.blocks import BlockPool


def test_equal_beginnings_are_shared_and_the_last_token_is_left_over() -> None:
    pool = BlockPool(8, 4)
    tokens = list(range(8))
    table = pool.take(2)
    assert table is not None
    pool.register(table, tokens, 0, 2)
    assert pool.match([*tokens, 9]) == table
    assert pool.holders(table[0]) == 2
    # All eight are known, but the last one's logits have to be computed: only the first block is taken.
    assert pool.match(tokens) == table[:1]


def test_another_beginning_with_an_equal_block_is_not_shared() -> None:
    pool = BlockPool(8, 2)
    table = pool.take(2)
    assert table is not None
    pool.register(table, [1, 2, 3, 4], 0, 2)
    assert pool.match([9, 9, 3, 4, 5]) == []
    assert pool.match([3, 4, 5]) == []


def test_unheld_content_lives_until_it_is_needed_and_its_end_goes_first() -> None:
    pool = BlockPool(3, 2)
    table = pool.take(2)
    assert table is not None
    pool.register(table, [1, 2, 3, 4], 0, 2)
    pool.release(table)
    assert pool.free == 3
    assert pool.take(2) == [2, table[1]]  # the one never used, then the end of the known text
    assert pool.match([1, 2, 3, 4, 5]) == table[:1]


def test_nothing_is_held_when_there_are_too_few() -> None:
    pool = BlockPool(3, 2)
    assert pool.take(4) is None
    assert pool.free == 3


def test_without_reuse_nothing_is_known() -> None:
    pool = BlockPool(4, 2, reuse=False)
    table = pool.take(1)
    assert table is not None
    pool.register(table, [1, 2], 0, 1)
    assert pool.match([1, 2, 3]) == []


def test_over_thousands_of_random_moves_holders_and_free_blocks_add_up() -> None:
    moves = random.Random(7)
    pool = BlockPool(24, 3)
    tables: list[tuple[list[int], list[int]]] = []
    for _ in range(6000):
        if moves.random() < 0.6:
            tokens = [moves.randrange(2) for _ in range(moves.randrange(1, 16))]
            table = pool.match(tokens)
            assert len(table) * 3 < len(tokens)
            more = pool.take(-(-len(tokens) // 3) - len(table))
            if more is None:
                pool.release(table)
            else:
                table += more
                pool.register(table, tokens, 0, len(tokens) // 3)
                tables.append((table, tokens))
        elif tables:
            pool.release(tables.pop(moves.randrange(len(tables)))[0])
        held = [block for table, _ in tables for block in table]
        assert [pool.holders(block) for block in range(24)] == [held.count(block) for block in range(24)]
        assert pool.free == 24 - len(set(held))
        for table, tokens in tables:
            for other, others in tables:
                for index, (a, b) in enumerate(zip(table, other, strict=False)):
                    if a == b:  # whoever shares a block shares all tokens up to its end
                        assert tokens[: (index + 1) * 3] == others[: (index + 1) * 3]
