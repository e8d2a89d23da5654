"""Independent readers and writers of the tables under test.

Called as `python peer.py COMMAND` with one JSON object on stdin; prints one JSON object on stdout. delta-rs
reads and writes the Delta log. DuckDB never sees the log: it is handed the data files that delta-rs lists and
reads their bytes with its own Parquet reader.
"""

import datetime
import decimal
import json
import os
import subprocess
import sys

import deltalake
import duckdb
import pyarrow
import pyarrow.parquet


def plain(value):
    """Turns a value into one that JSON can carry without losing digits."""
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def packages():
    """Yields (package, version, section, size, description) of every package that apt knows, sorted."""
    listing = subprocess.run(["apt-cache", "dumpavail"], check=True, capture_output=True).stdout
    seen = {}
    for stanza in listing.decode("utf-8", "replace").split("\n\n"):
        fields, name = {}, None
        for line in stanza.split("\n"):
            if line[:1] in (" ", "\t"):
                if name == "Description":
                    fields[name] += "\n" + line.strip()
            elif ":" in line:
                name, _, text = line.partition(":")
                fields[name] = text.strip()
        if fields.keys() >= {"Package", "Description", "Size"}:
            seen[fields["Package"]] = fields
    for package in sorted(seen):
        fields = seen[package]
        yield (package, fields.get("Section") or None, int(fields["Size"]), fields["Description"])


def debian(args):
    """Writes rows [start, start+count) of the package index to a table partitioned by section."""
    rows = list(packages())[args["start"] : args["start"] + args["count"]]
    if args.get("orphans"):  # every such row loses its section, so that the null partition is there
        rows = [(p, None if i % args["orphans"] == 0 else s, z, d) for i, (p, s, z, d) in enumerate(rows)]
    table = pyarrow.table(
        {
            "package": pyarrow.array([r[0] for r in rows], pyarrow.string()),
            "section": pyarrow.array([r[1] for r in rows], pyarrow.string()),
            "size": pyarrow.array([r[2] for r in rows], pyarrow.int64()),
            "description": pyarrow.array([r[3] for r in rows], pyarrow.string()),
        }
    )
    deltalake.write_deltalake(args["path"], table, partition_by=["section"], mode="append")
    return {"rows": len(rows), "version": deltalake.DeltaTable(args["path"]).version()}


def rows(args):
    """Writes rows id = start .. start+count-1 with a text each, in `files` files of one commit each."""
    files = args.get("files", 1)
    bounds = [args["start"] + args["count"] * i // files for i in range(files + 1)]
    for low, high in zip(bounds, bounds[1:]):
        ids = range(low, high)
        table = pyarrow.table(
            {
                "id": pyarrow.array(ids, pyarrow.int64()),
                "text": pyarrow.array([f"row {i} is good news" if i % 2 else f"row {i} is bad news" for i in ids], pyarrow.string()),
            }
        )
        deltalake.write_deltalake(args["path"], table, mode="append")
    return {"version": deltalake.DeltaTable(args["path"]).version()}


def clone_last(args):
    """Appends the table's row with the highest `column` again, with that column raised by one: an append by
    another writer to a table whose schema this script does not know."""
    table = deltalake.DeltaTable(args["path"])
    data = pyarrow.table(table.to_pyarrow_table())
    last = data.sort_by([(args["column"], "descending")]).slice(0, 1)
    index = last.schema.get_field_index(args["column"])
    raised = last.column(index)[0].as_py() + 1
    last = last.set_column(index, last.schema.field(index), pyarrow.array([raised], last.schema.field(index).type))
    deltalake.write_deltalake(table, last, mode="append")
    return {"version": deltalake.DeltaTable(args["path"]).version(), "value": raised}


def describe(args):
    """What delta-rs makes of the log: version, columns, protocol, transactions and adds."""
    table = deltalake.DeltaTable(args["path"])
    adds = pyarrow.table(table.get_add_actions(flatten=True))
    return {
        "version": table.version(),
        "schema": json.loads(table.schema().to_json()),
        "partition_columns": table.metadata().partition_columns,
        "transactions": {app: table.transaction_version(app) for app in args.get("apps", [])},
        "adds": adds.to_pylist(),
        # A statistic that no add has is still a column of NULLs.
        "add_columns": [name for name in adds.column_names if adds.column(name).null_count < len(adds)],
    }


def read(args):
    """Every row as delta-rs reads it."""
    table = deltalake.DeltaTable(args["path"], version=args.get("at"))
    data = pyarrow.table(table.to_pyarrow_table(columns=args.get("columns")))
    return {"rows": data.to_pylist()}


def sql(args):
    """Runs SQL in DuckDB over `tables`: name -> folder of a Delta table."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone='UTC'")
    for name, path in args["tables"].items():
        files = deltalake.DeltaTable(path).file_uris()
        listed = ", ".join("'" + f.replace("'", "''") + "'" for f in files)
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{listed}], union_by_name=true)")
    answers = []
    for statement in args["statements"]:
        cursor = connection.execute(statement)
        names = [column[0] for column in cursor.description]
        answers.append([dict(zip(names, values)) for values in cursor.fetchall()])
    return {"answers": answers}


def write(args):
    """Writes a small table of any shape: `columns` is name -> list of values (strings, integers or floats)."""
    table = pyarrow.table(args["columns"])
    deltalake.write_deltalake(args["path"], table, mode="append")
    return {"version": deltalake.DeltaTable(args["path"]).version()}


def checkpoint(args):
    """Makes delta-rs write a checkpoint at the table's newest version."""
    table = deltalake.DeltaTable(args["path"])
    table.create_checkpoint()
    return {"version": table.version()}


def versions(_):
    return {"deltalake": deltalake.__version__, "duckdb": duckdb.__version__, "pyarrow": pyarrow.__version__}


COMMANDS = {c.__name__: c for c in (debian, rows, clone_last, describe, read, sql, write, checkpoint, versions)}

if __name__ == "__main__":
    json.dump(COMMANDS[sys.argv[1]](json.load(sys.stdin)), sys.stdout, default=plain)
    sys.stdout.flush()
    # The native thread pools of three libraries now and then abort while the interpreter takes itself down:
    # the work is done, so leave without that.
    os._exit(0)
