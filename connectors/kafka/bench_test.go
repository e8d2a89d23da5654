package kafka

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkRead reads records of 200 bytes with a decoder that does next to nothing. The broker shares the cores.
func BenchmarkRead(b *testing.B) {
	for name, codec := range map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "zstd": kgo.ZstdCompression()} {
		b.Run(name, func(b *testing.B) {
			const n = 200_000
			cluster := newCluster(b, kfake.SeedTopics(1, "in"))
			client := newClient(b, cluster, kgo.ProducerBatchMaxBytes(256<<10), kgo.ProducerBatchCompression(codec))
			for range n / 10_000 {
				produceAll(b, client, texts("in", 0, strings.Repeat("x", 195), 10_000)...)
			}
			connection, _ := connect(b, cluster)
			options := textOptions("in")
			options.Columns = []string{"text", ColumnOffset}
			source, err := NewSource(b.Context(), connection, options)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				rows := int64(0)
				for batch, err := range source.Read(b.Context(), nil) {
					if err != nil {
						b.Fatal(err)
					}
					rows += batch.Record.NumRows()
					batch.Release()
				}
				if rows != n {
					b.Fatal(rows)
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}
