"""Bars out of a Parquet file, as much of it as a file of bars may be."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hybrid_ml.errors import BadInput
from hybrid_ml.market.file_limits import FileLimits, known_names, refuse_columns

BATCH_ROWS = 65_536
LONGEST_TEXT_BYTES = 1_000
"""Of a value in a column of a bar. Its batch must fit into memory, and one long text may be the value of every row."""


def read_parquet(path: Path, limits: FileLimits) -> pd.DataFrame:
    """The columns of bars in `path`; raises BadInput for what goes beyond `limits` or holds no bars.

    Raises what pyarrow raises for a file that is damaged, or none. What the file says of its size is believed only to
    refuse it: the rest is counted as it comes, but for a single page, which may take 2 GB where it lies about itself.
    """
    limits.refuse_bytes(path.stat().st_size)
    with pq.ParquetFile(path) as file:
        metadata, schema = file.metadata, file.schema_arrow
        limits.refuse_rows(metadata.num_rows)
        index = [name for name in (schema.pandas_metadata or {}).get("index_columns", []) if isinstance(name, str)]
        refuse_columns([*schema.names, *(["time"] if index else [])], "column")
        wanted = [*known_names(schema.names), *index]
        _refuse_nested(schema, wanted)
        limits.refuse_bytes(_expanded_bytes(metadata, wanted))
        texts = [name for name in wanted if _is_text(schema.field(name).type)]
    batches, size, rows = [], 0, 0
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=wanted):
            plain = _plain(batch, texts)
            size, rows = size + plain.nbytes, rows + plain.num_rows
            limits.refuse_bytes(size)
            limits.refuse_rows(rows)
            batches.append(plain)
    return pa.Table.from_batches(batches, None if batches else schema.empty_table().select(wanted).schema).to_pandas()


def _refuse_nested(schema: pa.Schema, wanted: list[str]) -> None:
    for name in wanted:
        if pa.types.is_nested(schema.field(name).type):
            raise BadInput(f"column {name} holds lists or records; a bar has one value in each column")


def _expanded_bytes(metadata: pq.FileMetaData, wanted: list[str]) -> int:
    """What the wanted columns say they take, expanded."""
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    columns = (group.column(number) for group in groups for number in range(group.num_columns))
    return sum(column.total_uncompressed_size for column in columns if column.path_in_schema in wanted)


def _is_text(kind: pa.DataType) -> bool:
    while pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary))


def _plain(batch: pa.RecordBatch, texts: list[str]) -> pa.RecordBatch:
    """`batch` with its texts written out, none of which may be long; until then each different one is there once."""
    for name in texts:
        place = batch.schema.get_field_index(name)
        column = batch.column(place)
        if pa.types.is_dictionary(column.type):
            longest = pc.max(pc.binary_length(column.dictionary)).as_py() or 0
            if longest > LONGEST_TEXT_BYTES:
                raise BadInput(f"column {name} holds a text of {longest:,} bytes; {LONGEST_TEXT_BYTES:,} is the most")
            batch = batch.set_column(place, name, column.dictionary_decode())
    return batch
