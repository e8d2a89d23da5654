package parquet_test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	apq "github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/connectors/store/parquet"
	"github.com/inflowhq/inflow/schemas"
)

// usage makes rows as a run writes them to the usage table.
func usage(rows int) arrow.Record {
	builder := schemas.NewUsageBuilder(memory.NewGoAllocator())
	defer builder.Release()
	start := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	reasoning := int64(12)
	cost := schemas.USD{}
	origin := &schemas.Origin{
		EndpointName: "triage", EndpointTags: map[string]string{"team": "support"}, Destinations: []string{"mini", "large"},
		DestinationType: "EXTERNAL_MODEL", DestinationName: "mini", Requester: "etl@example.com",
		URL: "https://api.example.com/v1/chat/completions", APIType: "llm/v1/chat",
		Job: "triage_tickets", RunID: "run-1", TaskKey: "task", SourceName: "main.support.tickets",
	}
	for i := range rows {
		builder.Append(&schemas.Invocation{
			Origin:       origin,
			InvocationID: fmt.Sprintf("inv-%032x", i*7919), RequestID: fmt.Sprintf("req-%032x", i*104729),
			EventTime: start.Add(time.Duration(i) * 7 * time.Millisecond), Model: "gpt-4o-mini", Latency: time.Duration(i%900) * time.Millisecond,
			StatusCode: 200, ContentType: "application/json", InputTokens: int64(200 + i%777), OutputTokens: int64(i % 99), TotalTokens: int64(299 + i%777),
			OutputReasoningTokens: &reasoning, CostUSD: &cost, PriceVersion: "2026-11",
			ProviderUsage:  fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d}`, 200+i%777, i%99),
			Attempts:       []schemas.Attempt{{Action: "PRIMARY", Destination: "mini", StatusCode: 200, Latency: time.Second}},
			IdempotencyKey: fmt.Sprintf("%064x", i), Attempt: 1,
			SourcePartition: "part-0001.parquet", SourceOffset: int64(i), SourceVersion: 3, RowKey: fmt.Sprint(i),
		})
	}
	return builder.NewRecord()
}

func BenchmarkWriteUsage(b *testing.B) {
	record := usage(20_000)
	defer record.Release()
	few := map[string]bool{"endpoint_name": true, "destination_name": true, "destination_model": true, "requester": true, "url": true, "job": true, "run_id": true}
	for name, options := range map[string]parquet.WriterOptions{
		"plain":      {},
		"dictionary": {Dictionary: func(column string) bool { return few[column] }},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			size := int64(0)
			for b.Loop() {
				writer, err := parquet.NewWriter(io.Discard, record.Schema(), options)
				if err != nil {
					b.Fatal(err)
				}
				if err := writer.Write(record); err != nil {
					b.Fatal(err)
				}
				if _, err := writer.Close(); err != nil {
					b.Fatal(err)
				}
				size = writer.Size()
			}
			b.ReportMetric(float64(record.NumRows())*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64(size)/float64(record.NumRows()), "B/row")
		})
	}
}

// BenchmarkWriteUsageWithArrow is the alternative that the Writer is measured against.
func BenchmarkWriteUsageWithArrow(b *testing.B) {
	record := usage(20_000)
	defer record.Release()
	b.ReportAllocs()
	for b.Loop() {
		properties := apq.NewWriterProperties(apq.WithCompression(compress.Codecs.Zstd), apq.WithDictionaryDefault(false))
		writer, err := pqarrow.NewFileWriter(record.Schema(), io.Discard, properties, pqarrow.DefaultWriterProps())
		if err != nil {
			b.Fatal(err)
		}
		if err := writer.Write(record); err != nil {
			b.Fatal(err)
		}
		if err := writer.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(record.NumRows())*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkReadUsage(b *testing.B) {
	record := usage(20_000)
	defer record.Release()
	data, _ := write(b, parquet.WriterOptions{}, record)
	b.ReportAllocs()
	for b.Loop() {
		file := open(b, data)
		for record, err := range file.Read(b.Context(), nil, 0, 1024) {
			if err != nil {
				b.Fatal(err)
			}
			record.Release()
		}
	}
	b.ReportMetric(float64(record.NumRows())*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
