"""Writes ticket.avro.hex with fastavro and ticket.pb.hex with Google's protobuf.

    pip install fastavro==1.13.1 grpcio-tools protobuf
    python -m grpc_tools.protoc -I. --python_out=. ticket.proto && python golden.py && rm ticket_pb2.py
"""

import datetime, decimal, io, json, uuid

import fastavro

row=dict(id=-9007199254740993,small=-7,subject="Ünïcode",score=1.5,weight=-2.25,open=True,raw=b"\x00\xff",hash=b"abcd",level="HIGH",
 tags=["a","b"],counts={"x":1},author={"name":"Ann","age":None},day=datetime.date(2026,11,25),time=datetime.time(1,2,3,4000),
 millis=datetime.datetime(2026,11,25,10,0,0,123000,tzinfo=datetime.timezone.utc),
 micros=datetime.datetime(1969,12,31,23,59,59,999999,tzinfo=datetime.timezone.utc),
 local=datetime.datetime(2026,1,2,3,4,5,6), price=decimal.Decimal("-12345.6789"),ref=uuid.UUID("00112233-4455-6677-8899-aabbccddeeff"),either=42)
buffer = io.BytesIO()
fastavro.schemaless_writer(buffer, fastavro.parse_schema(json.load(open("ticket.avsc"))), row)
open("ticket.avro.hex", "w").write(buffer.getvalue().hex() + "\n")

import ticket_pb2 as t

m=t.Ticket(id=-5,delta=-3,small=4000000000,large=18446744073709551615,f32=4000000001,sf64=-9,subject="Ünïcode",raw=b"\x00\xff",open=True,score=1.5,weight=-2.25,level=1,levels=[1,0],numbers=[1,-2,300],number=42,tags=["a","b"])
m.authors["x"].name="Ann"; m.names[-7]="seven"; m.author.name="Bob"; m.author.age=0
m.at.FromJsonString("2026-11-25T10:00:00.123456789Z"); m.took.FromJsonString("-1.5s"); m.wrapped.value=0; 
m.extra.update({"a":[1,True,None,"<x>"]}); m.any.type_url="type.example/x"; m.any.value=b"\x01"; m.done.SetInParent()
m.people.add(name="P"); m.value.null_value=0
open("ticket.pb.hex", "w").write(m.SerializeToString(deterministic=True).hex() + "\n")
