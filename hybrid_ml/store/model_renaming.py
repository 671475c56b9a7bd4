"""Models under another symbol: their bytes state it, so they are written again, and their versions change."""

from sqlalchemy import Connection, text

from hybrid_ml.errors import ModelUnavailable
from hybrid_ml.learning.model_bytes import Checksum, check_seal, pack_parts, rename_part, seal

VERSIONS = text("""
    SELECT version, parent, status, bytes IS NOT NULL AS bytes_kept, length, sha256 FROM model_versions
    WHERE symbol = :symbol ORDER BY parent IS NOT NULL, version
""")
BYTES = text("SELECT bytes FROM model_versions WHERE version = :version")
WRITE = text("""
    UPDATE model_versions
    SET bytes = :bytes, length = :length, sha256 = :sha256, file_length = :file_length, file_sha256 = :file_sha256
    WHERE version = :version
""")


def rename_models(connection: Connection, symbol: str, to: str) -> dict[str, str]:
    """Write the bytes of every model of `symbol` for `to`, in the caller's transaction; its new version by the old one.

    Models whose bytes are pruned or damaged stay as they are. Raises ModelUnavailable where that is the champion,
    since the next analysis could not use it.
    """
    versions, bases = dict[str, str](), dict[str, bytes]()
    for row in connection.execute(VERSIONS, {"symbol": symbol}).all():
        versions[row.version] = f"{to}@{row.version.removeprefix(f'{symbol}@')}"
        data = bytes(connection.execute(BYTES, {"version": row.version}).scalar_one() or b"")
        if not row.bytes_kept or not _is_intact(data, Checksum(row.length, row.sha256)):
            if row.status == "champion":
                raise ModelUnavailable(
                    f"the bytes of the champion {row.version} are damaged; train another one before, with "
                    f"`hybrid-ml train --symbols {symbol}`"
                )
            continue
        parent = None if row.parent is None else versions[row.parent]
        renamed = rename_part(data, row.version, to, parent)
        versions[row.version] = renamed.version
        if row.parent is None:
            bases[row.version] = renamed.data
            file = pack_parts(renamed.data, None)
        else:  # without its base it is never served
            file = pack_parts(bases.get(row.parent, b""), renamed.data if renamed.is_adopted else None)
        _write(connection, row.version, renamed.data, seal(file))
    return versions


def _is_intact(data: bytes, expected: Checksum) -> bool:
    try:
        check_seal(data, expected)
    except ModelUnavailable:
        return False
    return True


def _write(connection: Connection, version: str, data: bytes, file: Checksum) -> None:
    """Replace the bytes of `version`; `file`: the checksum of its serving file."""
    own = seal(data)
    connection.execute(
        WRITE,
        {
            "version": version,
            "bytes": data,
            "length": own.length,
            "sha256": own.sha256,
            "file_length": file.length,
            "file_sha256": file.sha256,
        },
    )
