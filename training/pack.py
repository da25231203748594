"""A step's samples to ranks and rows, from lengths and costs alone: the same on every rank.

Samples go to ranks so that the costliest rank costs least, then each rank's samples go into as few
rows as --row-tokens allows. A row has its true length: nothing is padded or truncated.
"""

import heapq
from dataclasses import dataclass

import numpy as np

NO_LOSS = -100  # the target of a token that is not trained on


def balance(costs: list[int], ranks: int) -> list[list[int]]:
    """Sample numbers for each rank. costs: FLOPs of each sample.

    Costliest first to the rank that has least so far, then swaps (or moves) between the costliest
    rank and another for as long as they lower the greater cost of the two.
    """
    shares = [[] for _ in range(ranks)]
    heap = [(0, rank) for rank in range(ranks)]
    for sample in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        total, rank = heapq.heappop(heap)
        shares[rank].append(sample)
        heapq.heappush(heap, (total + costs[sample], rank))
    totals = [sum(costs[i] for i in share) for share in shares]
    for _ in range(4 * len(costs)):
        top = max(range(ranks), key=totals.__getitem__)
        best = (totals[top], 0, None, None, None)
        for other in range(ranks):
            if other == top:
                continue
            for give in shares[top]:
                for take in (None, *shares[other]):
                    gain = costs[give] - (costs[take] if take is not None else 0)
                    if 0 < gain < totals[top] - totals[other]:
                        worst = max(totals[top] - gain, totals[other] + gain)
                        best = min(best, (worst, gain, other, give, take), key=lambda b: b[:2])
        worst, gain, other, give, take = best
        if other is None:
            break
        shares[top].remove(give)
        shares[other].append(give)
        if take is not None:
            shares[other].remove(take)
            shares[top].append(take)
        totals[top] -= gain
        totals[other] += gain
    return shares


def pack(
    lengths: list[int], costs: list[int], ranks: int, row_tokens: int
) -> list[list[list[int]]]:
    """plan[rank][row] = sample numbers; every rank has as many rows (some may be empty).

    lengths: tokens of each sample, none over `row_tokens`. Rows are filled longest first, each
    sample into the first row that has room.
    """
    assert max(lengths) <= row_tokens, f"{max(lengths)=} {row_tokens=}"
    plan = []
    for share in balance(costs, ranks):
        rows, room = [], []
        for sample in sorted(share, key=lambda i: (-lengths[i], i)):
            row = next((r for r, free in enumerate(room) if free >= lengths[sample]), len(rows))
            if row == len(rows):
                rows.append([])
                room.append(row_tokens)
            rows[row].append(sample)
            room[row] -= lengths[sample]
        plan.append([sorted(row) for row in rows])
    most = max(map(len, plan))
    return [rows + [[]] * (most - len(rows)) for rows in plan]


@dataclass
class Row:
    """ids [T], targets [T] (NO_LOSS: none), weights [T] fp32, cu_seqlens [N+1] int32."""

    ids: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    cu_seqlens: np.ndarray


def collate(documents: list[tuple[np.ndarray, np.ndarray, float]], multiple: int = 1) -> Row:
    """Packs documents, each (prompt ids, answer ids, weight of one answer token in the loss).

    Targets are built in each document before packing, from its answer's place and never from an id,
    so every answer token incl. its end is predicted once and nothing crosses a boundary. multiple:
    the row's length is rounded up to it by one more document without targets. No documents at all
    give the shortest row there is, of weight 0.
    """
    ids, targets, weights, bounds = [], [], [], [0]
    for prompt, answer, weight in documents:
        length = len(prompt) + len(answer)
        assert len(prompt) and len(answer), f"{len(prompt)=} {len(answer)=}"
        goal = np.full(length, NO_LOSS, dtype=np.int64)
        goal[len(prompt) - 1 : -1] = answer  # the token before it predicts it
        ids += [prompt, answer]
        targets.append(goal)
        weights.append(np.full(length, weight, dtype=np.float32))
        bounds.append(bounds[-1] + length)
    filler = -bounds[-1] % multiple or (not documents) * multiple
    if filler:
        ids.append(np.zeros(filler))
        targets.append(np.full(filler, NO_LOSS))
        weights.append(np.zeros(filler))
        bounds.append(bounds[-1] + filler)
    return Row(
        np.concatenate(ids).astype(np.int64),
        np.concatenate(targets).astype(np.int64),
        np.concatenate(weights).astype(np.float32),
        np.array(bounds, dtype=np.int32),
    )
