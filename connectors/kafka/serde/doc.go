// Package serde turns keys and values of records into columns, and rows into keys and values: text, bytes, JSON, JSON
// Schema, Avro and Protobuf, with or without a schema registry.
//
// It owns the formats, the wire format of Confluent's registry, and what a schema's types become in Arrow. The columns
// are fixed when a Decoder is made; a record written with another version of the schema is resolved to them by the rules
// of its format, or is undecodable. Bytes are read into cells first and appended afterwards, so that a builder never
// holds half a record, and what one record may cost is bounded by its size.
//
// What the types become:
//
//	Avro         int INT · long BIGINT · float · double · string STRING · bytes, fixed BINARY · enum STRING · array · map
//	             record STRUCT · date DATE · time-millis, time-micros BIGINT of that unit · timestamp-* TIMESTAMP
//	             local-timestamp-* TIMESTAMP_NTZ · decimal DECIMAL · uuid STRING · [null, T] T · other unions
//	             STRUCT<member0, member1, ...>, one of them set
//	Protobuf     int32, sint32, sfixed32 INT · int64, uint32, ... BIGINT · uint64, fixed64 DECIMAL(20,0) · enum STRING
//	             message STRUCT · map MAP<STRING, V> · Timestamp TIMESTAMP · Duration DECIMAL(21,9) of seconds
//	             wrappers their value · Struct, Value, ListValue STRING of JSON · Any STRUCT<type_url, value>
//	             google.type.Date DATE · confluent.type.Decimal with its precision and scale DECIMAL
//	JSON Schema  integer BIGINT, format int32 INT · number DOUBLE, format float FLOAT, decimal(p,s) DECIMAL · boolean
//	             string STRING, formats date, date-time and date-time-local DATE, TIMESTAMP, TIMESTAMP_NTZ, contentEncoding
//	             base64 BINARY · array · object with properties STRUCT, with typed additionalProperties MAP · all else
//	             STRING of JSON text
//
// A record or a message without any field is BOOLEAN: true where it is there. Times finer than a microsecond are cut.
// A null key or value is NULL in all columns, and a NULL in the column of a text or bytes encoder is a null value.
//
// It refuses recursive types, whose columns would have no end, and does not read schemas that name other files: what a
// schema refers to comes from the registry.
package serde
