"""Minimal-cost assignment: the inner step of collision repair."""

import numpy as np


def minimal_assignment(cost: np.ndarray) -> np.ndarray:
    """Assign every row a column of its own at least total cost.

    Shortest augmenting paths with dual potentials (Jonker and Volgenant 1987; Crouse 2016, algorithm for rectangular problems),
    O(rows^2 * columns), its inner loop over columns in numpy.

    Args:
        cost: float64 [rows, columns], finite, rows <= columns.

    Returns:
        int64 [rows], the column of each row.
    """
    rows, columns = cost.shape
    if rows > columns:
        raise ValueError(f"{rows} rows cannot have a column each of {columns}")
    row_of = np.full(columns, -1, dtype=np.int64)
    column_of = np.full(rows, -1, dtype=np.int64)
    row_dual = np.zeros(rows)
    column_dual = np.zeros(columns)
    for start in range(rows):
        shortest = np.full(columns, np.inf)
        previous = np.full(columns, -1, dtype=np.int64)
        done_columns = np.zeros(columns, dtype=bool)
        done_rows = [start]
        row, distance = start, 0.0
        while True:
            through = distance + cost[row] - row_dual[row] - column_dual
            better = ~done_columns & (through < shortest)
            shortest[better] = through[better]
            previous[better] = row
            column = int(np.argmin(np.where(done_columns, np.inf, shortest)))
            distance = float(shortest[column])
            done_columns[column] = True
            if row_of[column] < 0:
                break
            row = int(row_of[column])
            done_rows.append(row)
        row_dual[start] += distance
        for done in done_rows[1:]:
            row_dual[done] += distance - shortest[column_of[done]]
        column_dual[done_columns] -= distance - shortest[done_columns]
        while True:
            row = int(previous[column])
            row_of[column] = row
            column_of[row], column = column, int(column_of[row])
            if row == start:
                break
    return column_of
