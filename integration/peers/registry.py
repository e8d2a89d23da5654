"""The clients that are not ours: librdkafka writes what Confluent's serializers and fastavro, protoc and jsonschema made
of orders, through the schema registry. One command a process: JSON on standard input, JSON on standard output.

Every order exists in two versions of its schema, both of which refer to a second subject for their lines. The older half
of a topic is written with version 1, the newer half with version 2. Version 2 adds a channel (web, unless written),
drops the coupon, widens the priority from 32 to 64 bits, and, where the format has a way to say so, renames the customer
to buyer.
"""

import base64
import datetime
import decimal
import io
import json
import pathlib
import sys
import tempfile

import confluent_kafka
import fastavro
from confluent_kafka import serialization
from confluent_kafka import schema_registry
from confluent_kafka.schema_registry import avro as avro_serde
from confluent_kafka.schema_registry import json_schema as json_serde
from confluent_kafka.schema_registry import protobuf as protobuf_serde
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_tools import protoc

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
STATUS = ["NEW", "PAID", "SENT"]


def order(number, version):
    """Order number as every format is given it: plain Python values."""
    made = {
        "order_id": number + (1 << 53),  # not exact as a double
        "customer" if version == 1 else "buyer": f"customer {number} ☂",
        "priority": -number,
        "placed": START + datetime.timedelta(hours=number, milliseconds=number),
        "due": (START + datetime.timedelta(days=number)).date(),
        "total": decimal.Decimal(number * 1_000_003).scaleb(-2),
        "status": STATUS[number % len(STATUS)],
        "tags": [f"tag {i}" for i in range(number % 4)],
        "lines": [{"sku": f"sku-{i}", "quantity": i + 1, "price": i + 0.5} for i in range(number % 3)],
        "notes": {f"note {i}": "" if i == 0 else f"text {number}" for i in range(number % 3)},
        "seal": number.to_bytes(4, "big"),
    }
    if version == 1:
        made["coupon"] = None if number % 2 else f"COUPON{number}"
    else:
        made["channel"] = "shop"
    return made


# Avro

AVRO_LINE = {
    "type": "record", "name": "Line", "namespace": "shop",
    "fields": [
        {"name": "sku", "type": "string"},
        {"name": "quantity", "type": "int"},
        {"name": "price", "type": "double"},
    ],
}


def avro_order(version):
    fields = [
        {"name": "order_id", "type": "long"},
        {"name": "customer", "type": "string"} if version == 1 else {"name": "buyer", "aliases": ["customer"], "type": "string"},
        {"name": "priority", "type": "int" if version == 1 else "long"},
        {"name": "placed", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "due", "type": {"type": "int", "logicalType": "date"}},
        {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 2}},
        {"name": "status", "type": {"type": "enum", "name": "Status", "symbols": STATUS, "default": "NEW"}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "lines", "type": {"type": "array", "items": "shop.Line"}},
        {"name": "notes", "type": {"type": "map", "values": "string"}},
        {"name": "seal", "type": {"type": "fixed", "name": "Seal", "size": 4}},
    ]
    if version == 1:
        fields.append({"name": "coupon", "type": ["null", "string"], "default": None})
    else:
        fields.insert(0, {"name": "channel", "type": "string", "default": "web"})
    return {"type": "record", "name": "Order", "namespace": "shop", "fields": fields}


class Avro:
    kind, reference = "AVRO", "shop.Line"
    line = json.dumps(AVRO_LINE)

    def __init__(self):
        self.parsed = {v: self.parse(v) for v in (1, 2)}

    def parse(self, version):
        known = {}
        fastavro.parse_schema(AVRO_LINE, named_schemas=known)
        return fastavro.parse_schema(avro_order(version), named_schemas=known)

    def text(self, version):
        return json.dumps(avro_order(version))

    def serializer(self, registry, schema, id, version):
        return avro_serde.AvroSerializer(registry, schema, conf=conf(id))

    def value(self, number, version):
        return order(number, version)

    def read(self, payload, version):
        return fastavro.schemaless_reader(io.BytesIO(payload[5:]), self.parsed[version], self.parsed[2])


# Protobuf

PROTO_LINE = """syntax = "proto3";
package shop;

message Line {
  string sku = 1;
  int32 quantity = 2;
  double price = 3;
}
"""


def proto_order(version):
    customer, priority = ("customer", "int32") if version == 1 else ("buyer", "int64")
    own = "optional string coupon = 11;" if version == 1 else "reserved 11;\n  string channel = 12;"
    # The order is not the file's first message, so that every record has to say which one it is.
    return f"""syntax = "proto3";
package shop;

import "google/protobuf/timestamp.proto";
import "line.proto";

message Receipt {{
  int64 order_id = 1;
}}

message Order {{
  enum Status {{
    NEW = 0;
    PAID = 1;
    SENT = 2;
  }}
  int64 order_id = 1;
  string {customer} = 2;
  {priority} priority = 3;
  google.protobuf.Timestamp placed = 4;
  oneof amount {{
    string total = 5;
    uint64 cents = 6;
  }}
  Status status = 7;
  repeated string tags = 8;
  repeated Line lines = 9;
  map<string, string> notes = 10;
  {own}
  bytes seal = 13;
}}
"""


class Known:
    """What a serializer asks of the registry, answered from the id. Confluent's asks for the binary descriptors that its own
    registry makes of a text; ours has the text alone."""

    def __init__(self, registry, id):
        self.known = schema_registry.RegisteredSchema(schema_id=id, version=1, subject=None, guid=None, schema=registry.get_schema(id))

    def lookup_schema(self, subject, schema, normalize_schemas=False):
        return self.known


class Protobuf:
    kind, reference, line = "PROTOBUF", "line.proto", PROTO_LINE

    def __init__(self):
        self.message = {v: self.compile(v) for v in (1, 2)}

    def compile(self, version):
        with tempfile.TemporaryDirectory() as folder:
            here = pathlib.Path(folder)
            (here / "line.proto").write_text(PROTO_LINE)
            (here / "order.proto").write_text(proto_order(version))
            known = pathlib.Path(protoc.__file__).parent / "_proto"
            if protoc.main(["protoc", f"-I{folder}", f"-I{known}", "--include_imports", f"--descriptor_set_out={here / 'out'}", "order.proto"]):
                raise RuntimeError("protoc has refused the order")
            files = descriptor_pb2.FileDescriptorSet.FromString((here / "out").read_bytes())
        pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            pool.Add(file)
        return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Order"))

    def text(self, version):
        return proto_order(version)

    def serializer(self, registry, schema, id, version):
        del schema
        return protobuf_serde.ProtobufSerializer(self.message[version], Known(registry, id), conf(None))

    def value(self, number, version):
        made = order(number, version)
        del made["due"]
        message = self.message[version]()
        message.placed.FromDatetime(made.pop("placed"))
        message.status = STATUS.index(made.pop("status"))
        total = made.pop("total")
        if number % 2:
            message.total = str(total)
        else:
            message.cents = int(total.scaleb(2))
        for line in made.pop("lines"):
            message.lines.add(**line)
        message.tags.extend(made.pop("tags"))
        message.notes.update(made.pop("notes"))
        for name, value in made.items():
            if value is not None:
                setattr(message, name, value)
        return message

    def read(self, payload, version):
        # Behind the id stand the number of indexes and the one index, 1, as varints.
        if payload[5:7] != b"\x02\x02":
            raise RuntimeError(f"the record begins with {payload[:7]!r}")
        message = self.message[2].FromString(payload[7:])
        return json_format.MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


# JSON Schema

JSON_LINE = {
    "$id": "line.json", "$schema": "http://json-schema.org/draft-07/schema#", "title": "Line", "type": "object",
    "properties": {"sku": {"type": "string"}, "quantity": {"type": "integer"}, "price": {"type": "number"}},
    "required": ["sku"],
}


def json_order(version):
    properties = {
        "order_id": {"type": "integer"},
        "customer" if version == 1 else "buyer": {"type": "string"},
        "priority": {"type": "integer"},
        "placed": {"type": "string", "format": "date-time"},
        "due": {"type": "string", "format": "date"},
        "total": {"type": "string"},
        "status": {"type": "string", "enum": STATUS},
        "tags": {"type": "array", "items": {"type": "string"}},
        "lines": {"type": "array", "items": {"$ref": "line.json"}},
        "notes": {"type": "object", "additionalProperties": {"type": "string"}},
        "seal": {"type": "string"},
    }
    if version == 1:
        properties["coupon"] = {"type": ["string", "null"]}
    else:
        properties["channel"] = {"type": "string"}
    return {"$id": "order.json", "$schema": "http://json-schema.org/draft-07/schema#", "title": "Order", "type": "object",
            "properties": properties, "required": ["order_id"]}


class Json:
    kind, reference = "JSON", "line.json"
    line = json.dumps(JSON_LINE)

    def text(self, version):
        return json.dumps(json_order(version))

    def serializer(self, registry, schema, id, version):
        return json_serde.JSONSerializer(schema, registry, conf=conf(id))

    def value(self, number, version):
        return json.loads(plain(order(number, version)))

    def read(self, payload, version):
        return json.loads(payload[5:])


FORMATS = {"avro": Avro, "protobuf": Protobuf, "json_schema": Json}


def conf(id):
    # Without a strategy the serializers look for one at an address that only Confluent's own registry has.
    return {"auto.register.schemas": False, "use.schema.id": id, "subject.name.strategy": schema_registry.topic_subject_name_strategy}


def plain(value):
    """JSON, with what JSON has no type for as text: ISO 8601 in UTC, exact decimals, base64."""

    def other(it):
        if isinstance(it, datetime.datetime):
            return it.astimezone(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if isinstance(it, datetime.date):
            return it.isoformat()
        if isinstance(it, decimal.Decimal):
            return str(it)
        if isinstance(it, bytes):
            return base64.b64encode(it).decode()
        raise TypeError(type(it))

    return json.dumps(value, default=other)


def produce(args):
    topic, count = args["topic"], args["count"]
    format = FORMATS[args["format"]]()
    registry = schema_registry.SchemaRegistryClient({"url": args["registry"]})
    producer = confluent_kafka.Producer({"bootstrap.servers": args["brokers"], "enable.idempotence": True, "compression.type": "zstd"})
    registry.register_schema(f"{topic}-line", schema_registry.Schema(format.line, format.kind))
    reference = schema_registry.SchemaReference(format.reference, f"{topic}-line", 1)
    records, failed = [], []

    def delivered(record):
        def call(error, message):
            if error:
                failed.append(str(error))
            else:
                record.update(partition=message.partition(), offset=message.offset())
        return call

    ids = []
    for version, numbers in ((1, range(count // 2)), (2, range(count // 2, count))):
        schema = schema_registry.Schema(format.text(version), format.kind, [reference])
        ids.append(registry.register_schema(f"{topic}-value", schema))
        serialize = format.serializer(registry, schema, ids[-1], version)
        context = serialization.SerializationContext(topic, serialization.MessageField.VALUE)
        for number in numbers:
            payload = serialize(format.value(number, version), context)
            record = {"key": f"order-{number}", "schema_id": ids[-1], "value": json.loads(plain(format.read(payload, version)))}
            records.append(record)
            producer.produce(topic, key=record["key"], value=payload, on_delivery=delivered(record))
            producer.poll(0)
    producer.flush()
    if failed:
        raise RuntimeError(failed[0])
    return {"ids": ids, "records": records}


COMMANDS = {"produce": produce}

if __name__ == "__main__":
    json.dump(COMMANDS[sys.argv[1]](json.load(sys.stdin)), sys.stdout)
