package serde

import (
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// eight are the columns of a common record.
func eight() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		nullable("ticket_id", arrow.PrimitiveTypes.Int64), nullable("subject", arrow.BinaryTypes.String),
		nullable("body", arrow.BinaryTypes.String), nullable("priority", arrow.PrimitiveTypes.Int32),
		nullable("score", arrow.PrimitiveTypes.Float64), nullable("open", arrow.FixedWidthTypes.Boolean),
		nullable("created", arrow.FixedWidthTypes.Timestamp_us), nullable("tags", arrow.ListOf(arrow.BinaryTypes.String)),
	}, nil)
}

func eightRecord() arrow.Record {
	builder := array.NewRecordBuilder(memory.DefaultAllocator, eight())
	defer builder.Release()
	as[*array.Int64Builder](builder.Field(0)).Append(1234567)
	as[*array.StringBuilder](builder.Field(1)).Append("The printer is on fire")
	as[*array.StringBuilder](builder.Field(2)).Append("It began this morning, with a smell of plastic. \"Error 17\" is what it says.")
	as[*array.Int32Builder](builder.Field(3)).Append(2)
	as[*array.Float64Builder](builder.Field(4)).Append(0.8125)
	as[*array.BooleanBuilder](builder.Field(5)).Append(true)
	as[*array.TimestampBuilder](builder.Field(6)).Append(1_795_000_000_123_456)
	as[*array.ListBuilder](builder.Field(7)).Append(true)
	as[*array.StringBuilder](as[*array.ListBuilder](builder.Field(7)).ValueBuilder()).AppendValues([]string{"printer", "fire"}, nil)
	return builder.NewRecord()
}

func BenchmarkDecode(b *testing.B) {
	for _, format := range []Format{Text, JSON, JSONSchema, Avro, Protobuf} {
		b.Run(string(format), func(b *testing.B) {
			registry := newFakeRegistry()
			o := Options{Format: format, Topic: "tickets", Registry: registry.client(b, RegistryOptions{})}
			record := eightRecord()
			defer record.Release()
			var columns []string
			if format == Text {
				columns = []string{"body"}
			}
			encoder, err := NewEncoder(b.Context(), o, record.Schema(), columns)
			if err != nil {
				b.Fatal(err)
			}
			payload, err := encoder.Encode(b.Context(), record, 0)
			if err != nil {
				b.Fatal(err)
			}
			if format == JSON {
				o.Schema = columnsDDL(record.Schema().Fields())
			}
			decoder := newDecoder(b, o)
			builder := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(decoder.Fields(), nil))
			defer builder.Release()
			columnBuilders := builder.Fields()
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := decoder.Append(b.Context(), payload, columnBuilders); err != nil {
					b.Fatal(err)
				}
				if i%8192 == 8191 { // a batch
					builder.NewRecord().Release()
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, format := range []Format{JSON, Avro, Protobuf} {
		b.Run(string(format), func(b *testing.B) {
			record := eightRecord()
			defer record.Release()
			encoder, err := NewEncoder(b.Context(), Options{Format: format, Topic: "tickets"}, record.Schema(), nil)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := encoder.Encode(b.Context(), record, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
