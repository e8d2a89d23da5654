package serde

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The bytes were written by other implementations: testdata/golden.py.
func golden(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := hex.DecodeString(strings.TrimSpace(testText(tb, name)))
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func testText(tb testing.TB, name string) string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

func compare(tb testing.TB, got, want string) {
	tb.Helper()
	if want = strings.TrimPrefix(want, "\n"); got != want {
		tb.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestGoldenAvro(t *testing.T) {
	t.Parallel()
	decoder := newDecoder(t, Options{Format: Avro, Schema: testText(t, "ticket.avsc")})
	compare(t, decoded(t, decoder, golden(t, "ticket.avro.hex")), `
id int64 = -9007199254740993
small int32 = -7
subject utf8 = "Ünïcode"
score float32 = 1.5
weight float64 = -2.25
open bool = true
raw binary = 00ff
hash binary = 61626364
level utf8 = "HIGH"
tags list<item: utf8, nullable> = ["a", "b"]
counts map<utf8, int64, items_nullable> = <"x": 1>
author struct<name: utf8, age: int32> = {"Ann", NULL}
day date32 = 2026-11-25
time int64 = 3723004
millis timestamp[us, tz=UTC] = 2026-11-25 10:00:00.123Z
micros timestamp[us, tz=UTC] = 1969-12-31 23:59:59.999999Z
local timestamp[us] = 2026-01-02 03:04:05.000006Z
price decimal(20, 4) = -12345.6789
ref utf8 = "00112233-4455-6677-8899-aabbccddeeff"
either struct<member0: utf8, member1: int64> = {NULL, 42}
`)
}

func TestGoldenProtobuf(t *testing.T) {
	t.Parallel()
	decoder := newDecoder(t, Options{Format: Protobuf, Schema: testText(t, "ticket.proto")})
	compare(t, decoded(t, decoder, golden(t, "ticket.pb.hex")), `
id int64 = -5
delta int32 = -3
small int64 = 4000000000
large decimal(20, 0) = 18446744073709551615
f32 int64 = 4000000001
sf64 int64 = -9
subject utf8 = "Ünïcode"
note utf8 = NULL
raw binary = 00ff
open bool = true
score float32 = 1.5
weight float64 = -2.25
level utf8 = "HIGH"
levels list<item: utf8, nullable> = ["HIGH", "LOW"]
numbers list<item: int32, nullable> = [1, -2, 300]
authors map<utf8, struct<name: utf8, age: int32>, items_nullable> = <"x": {"Ann", NULL}>
names map<utf8, utf8, items_nullable> = <"-7": "seven">
author struct<name: utf8, age: int32> = {"Bob", 0}
nobody struct<name: utf8, age: int32> = NULL
text utf8 = NULL
number int64 = 42
at timestamp[us, tz=UTC] = 2026-11-25 10:00:00.123456Z
took decimal(21, 9) = -1.500000000
wrapped int64 = 0
unwrapped utf8 = NULL
extra utf8 = "{\"a\":[1,true,null,\"<x>\"]}"
any struct<type_url: utf8, value: binary> = {"type.example/x", 01}
done bool = true
undone bool = NULL
tags list<item: utf8, nullable> = ["a", "b"]
people list<item: struct<name: utf8, age: int32>, nullable> = [{"P", NULL}]
value utf8 = NULL
`)
}
