"""Reading bars from a Parquet or Feather file, within the size limits of a file of bars."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import dataset

from hybrid_ml.errors import BadInput
from hybrid_ml.market.file_formats import positions_of, table_positions
from hybrid_ml.market.file_limits import FileLimits

Columns = dict[str, pa.Array]
"""A batch of rows: BAR_COLUMNS, without volume where there is none, and "date" where the day is apart."""
BATCH_ROWS = 65_536
LONGEST_TEXT_BYTES = 1_000
"""For a value in a column of a bar. A batch must fit into memory, and one long text may be the value of every row."""


def parquet_batches(path: Path, limits: FileLimits) -> Iterator[Columns]:
    """The columns of bars in `path`, batch by batch; raises BadInput for a file beyond `limits` or without bars.

    Raises what pyarrow raises for a damaged file. The sizes in the file's metadata are used only to refuse it:
    the rest is counted while reading, except for a single page, which may take 2 GB where its metadata is wrong.
    """
    limits.refuse_bytes(path.stat().st_size)
    with pq.ParquetFile(path) as file:
        metadata, schema = file.metadata, file.schema_arrow
        limits.refuse_rows(metadata.num_rows)
        wanted = _wanted(schema)
        limits.refuse_bytes(_expanded_bytes(metadata, list(wanted.values())))
        texts = [name for name in wanted.values() if _is_text(schema.field(name).type)]
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        yield from _columns(file.iter_batches(BATCH_ROWS, columns=list(wanted.values())), wanted, texts, limits)


def feather_batches(path: Path, limits: FileLimits) -> Iterator[Columns]:
    """The same of a Feather file (version 2)."""
    limits.refuse_bytes(path.stat().st_size)
    # Counted from its metadata, before anything is expanded.
    limits.refuse_rows(dataset.dataset(path, format="feather").count_rows())
    with pa.memory_map(str(path)) as source:
        schema = pa.ipc.open_file(source).schema
        wanted = _wanted(schema)
        fields = [schema.get_field_index(name) for name in wanted.values()]
        file = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=fields))
        batches = (file.get_batch(number) for number in range(file.num_record_batches))
        texts = [name for name in wanted.values() if _is_text(schema.field(name).type)]
        pieces = (batch.slice(at, BATCH_ROWS) for batch in batches for at in range(0, batch.num_rows, BATCH_ROWS))
        yield from _columns(pieces, wanted, texts, limits)


def _wanted(schema: pa.Schema) -> dict[str, str]:
    """The name in the file of each column of a bar; the index of a pandas frame is its time where it has no other."""
    index = [name for name in (schema.pandas_metadata or {}).get("index_columns", []) if isinstance(name, str)]
    names = list(schema.names)
    if index and "time" not in positions_of(names):
        names[names.index(index[0])] = "time"
    wanted = {column: schema.names[at] for column, at in table_positions(names).items()}
    _refuse_nested(schema, list(wanted.values()))
    return wanted


def _columns(
    batches: Iterable[pa.RecordBatch], wanted: dict[str, str], texts: list[str], limits: FileLimits
) -> Iterator[Columns]:
    size = rows = 0
    for batch in batches:
        plain = _plain(batch, texts)
        size, rows = size + plain.nbytes, rows + plain.num_rows
        limits.refuse_bytes(size)
        limits.refuse_rows(rows)
        yield {column: plain.column(name) for column, name in wanted.items()}


def _refuse_nested(schema: pa.Schema, wanted: list[str]) -> None:
    for name in wanted:
        if pa.types.is_nested(schema.field(name).type):
            raise BadInput(f"column {name} contains lists or records; a bar has one value in each column")


def _expanded_bytes(metadata: pq.FileMetaData, wanted: list[str]) -> int:
    """The expanded size of the wanted columns, by the file's metadata."""
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    columns = (group.column(number) for group in groups for number in range(group.num_columns))
    return sum(column.total_uncompressed_size for column in columns if column.path_in_schema in wanted)


def _is_text(kind: pa.DataType) -> bool:
    while pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary))


def _plain(batch: pa.RecordBatch, texts: list[str]) -> pa.RecordBatch:
    """`batch` with its texts decoded, none of which may be long; before that each different one is stored once."""
    for name in texts:
        place = batch.schema.get_field_index(name)
        column = batch.column(place)
        if pa.types.is_dictionary(column.type):
            longest = pc.max(pc.binary_length(column.dictionary)).as_py() or 0
            if longest > LONGEST_TEXT_BYTES:
                raise BadInput(f"column {name} contains a text of {longest:,} bytes; limit {LONGEST_TEXT_BYTES:,}")
            batch = batch.set_column(place, name, column.dictionary_decode())
    return batch
