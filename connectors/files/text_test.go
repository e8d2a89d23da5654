package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/schemas"
)

func TestInfersTypes(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("9", 30)
	for name, c := range map[string]struct{ file, data, columns, rows string }{
		"json numbers": {
			"x.jsonl", `{"i":1,"d":1.5,"e":1e3,"m":1,"big":` + long + `,"mix":1}` + "\n" + `{"i":-9223372036854775808,"d":-0.5,"e":2E-3,"m":0.5,"big":1,"mix":"1"}`,
			"i BIGINT, d DOUBLE, e DOUBLE, m DOUBLE, big utf8, mix utf8",
			`{"i":1,"d":1.5,"e":1000,"m":1,"big":"` + long + `","mix":"1"}` + "\n" + `{"i":-9223372036854775808,"d":-0.5,"e":0.002,"m":0.5,"big":"1","mix":"1"}`,
		},
		"json texts that look like numbers": {"x.jsonl", `{"s":"1","b":"true"}`, "s utf8, b utf8", `{"s":"1","b":"true"}`},
		"json times": {
			"x.jsonl", `{"d":"2024-02-29","z":"2024-02-29T12:00:00+02:00","l":"2024-02-29 12:00:00.1234567","m":"2024-02-29","n":"2024-02-30"}` + "\n" + `{"d":"1969-12-31","z":"1969-12-31 23:59:59.9999999Z","l":"1969-12-31T23:59:59","m":"2024-02-29T00:00:00Z"}`,
			"d DATE, z TIMESTAMP with a zone, l TIMESTAMP without a zone, m utf8, n utf8",
			`{"d":"2024-02-29","z":"2024-02-29 10:00:00Z","l":"2024-02-29 12:00:00.123456Z","m":"2024-02-29","n":"2024-02-30"}` + "\n" + `{"d":"1969-12-31","z":"1969-12-31 23:59:59.999999Z","l":"1969-12-31 23:59:59Z","m":"2024-02-29T00:00:00Z","n":null}`,
		},
		"json nested, null, missing": {
			"x.jsonl", `{"n":{"a": [1, 2]},"l":[],"z":null,"b":null,"mixed":"x"}` + "\n" + `{"b":true,"mixed":{}}`,
			"n utf8, l utf8, z utf8, b BOOLEAN, mixed utf8",
			`{"n":"{\"a\": [1, 2]}","l":"[]","z":null,"b":null,"mixed":"x"}` + "\n" + `{"n":null,"l":null,"z":null,"b":true,"mixed":"{}"}`,
		},
		"json unicode, escapes, mark, CRLF, blank lines": {
			"x.jsonl", "\ufeff{\"grüße\":\"\\u00e9 \\ud83d\\ude00 \\\"q\\\" \\n\"}\r\n\r\n \t\r\n{\"grüße\":\"日本\"}\r\n",
			"grüße utf8", "{\"grüße\":\"é 😀 \\\"q\\\" \\n\"}\n{\"grüße\":\"日本\"}",
		},
		"csv types": {
			"x.csv", "i,d,b,day,z,zip,phone,hex,inf,e\n1,1.5,true,2024-01-01,2024-01-01T00:00:00Z,01234,+49,0x1,Inf,\n-2,2,false,2024-01-02,2024-01-02T00:00:00Z,1,1,1,1,\n",
			"i BIGINT, d DOUBLE, b BOOLEAN, day DATE, z TIMESTAMP with a zone, zip utf8, phone utf8, hex utf8, inf utf8, e utf8",
			`{"i":1,"d":1.5,"b":true,"day":"2024-01-01","z":"2024-01-01 00:00:00Z","zip":"01234","phone":"+49","hex":"0x1","inf":"Inf","e":null}` + "\n" + `{"i":-2,"d":2,"b":false,"day":"2024-01-02","z":"2024-01-02 00:00:00Z","zip":"1","phone":"1","hex":"1","inf":"1","e":null}`,
		},
		"csv quotes, mark, CRLF, blank lines": {
			"x.csv", "\ufeff\"a b\",c\r\n\r\n\"x, \"\"y\"\"\r\nz\",\"\"\r\n,grüße 👋\r\n",
			"a b utf8, c utf8", "{\"a b\":\"x, \\\"y\\\"\\nz\",\"c\":null}\n{\"a b\":null,\"c\":\"grüße 👋\"}",
		},
		"csv header alone": {"x.csv", "a,b", "a utf8, b utf8", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, suffix := range []string{"", ".gz", ".zst"} {
				st := folder(t)
				put(t, st, c.file+suffix, c.data)
				s := open(t, st, SourceOptions{})
				equal(t, columns(s.Schema()), c.columns)
				var rows []string
				for i, row := range read(t, s, nil) {
					rows = append(rows, strings.TrimPrefix(row, fmt.Sprintf("%s%s %d ", c.file, suffix, i)))
				}
				equal(t, join(rows), c.rows)
			}
		})
	}
}

// The types come from the first rows of all files, and the columns chosen need no others to fit.
func TestInfersAcrossFiles(t *testing.T) {
	t.Parallel()
	st := folder(t)
	put(t, st, "a.jsonl", `{"a":1}`)
	put(t, st, "b.jsonl", `{"a":2.5,"b":"x"}`)
	equal(t, columns(open(t, st, SourceOptions{}).Schema()), "a DOUBLE, b utf8")
	put(t, st, "c.csv", "b,c\nx,1\n")
	out := drain(t, open(t, st, SourceOptions{}), nil)
	contains(t, out.err, `files: c.csv:1:1: column "a" is missing in the header`, "name columns that all files have")
	equal(t, len(out.rows), 2)
	equal(t, len(read(t, open(t, st, SourceOptions{}), schemas.Marks{"c.csv": 1})), 2) // what is done is not judged
	equal(t, len(read(t, open(t, st, SourceOptions{Columns: []string{"b"}}), nil)), 3)

	put(t, st, "big.jsonl", strings.Repeat("{\"a\":1}\n", sampleRows)+`{"a":1,"late":1}`+"\n"+`{"a":"x"}`)
	late := SourceOptions{Patterns: []string{"big.jsonl"}}
	contains(t, drain(t, open(t, st, late), nil).err, `files: big.jsonl:1001:15: column "late"`, "name the columns that you want")
	late.Columns = []string{"a"}
	late.BatchRows = 7
	bad := drain(t, open(t, st, late), nil)
	contains(t, bad.err, `files: big.jsonl:1002:6: column "a": the value is no BIGINT`, "clean it")
	equal(t, len(bad.rows), sampleRows+1)
}

// Every fault says where and how to mend it, quotes no value, and stands behind the rows before it at every
// batch size.
func TestTextFaults(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 20_000)
	for name, c := range map[string]struct {
		file, good, bad string
		says            []string
	}{
		"json array":          {"x.json", "", "[\n{\"n\": 1}\n]", []string{":1:1: ", "jq -c '.[]' for an array"}},
		"json pretty":         {"x.json", "", "{\n\"n\": 1\n}\n", []string{":1:1: the line is not one JSON object"}},
		"json two":            {"x.jsonl", "{\"n\": 1}\n", "{\"n\": 2} {\"n\": 3}\n", []string{":2:", "not one JSON object"}},
		"json comma":          {"x.jsonl", "{\"n\": 1}\n", "{\"n\": 2},\n", []string{":2:9: ", "not one JSON object"}},
		"json cut":            {"x.jsonl", "{\"n\": 1}\n", "{\"n\": 2", []string{":2:8: the last line is cut off: is the file still being written?"}},
		"json cut key":        {"x.jsonl", "{\"n\": 1}\n", "{\"n", []string{":2:", "cut off"}},
		"json cut inside":     {"x.jsonl", "{\"n\": 1}\n", "{\"n\": \n{\"n\": 2}\n", []string{":2:", "not one JSON object"}},
		"json scalar":         {"x.jsonl", "{\"n\": 1}\n", "null\n", []string{":2:", "not one JSON object"}},
		"json space":          {"x.jsonl", "{\"n\": 1}\n", "\u00a0\n", []string{":2:1: ", "not one JSON object"}},
		"json NaN":            {"x.jsonl", "{\"n\": 1}\n", "{\"n\": NaN}\n", []string{":2:7: ", "not one JSON object"}},
		"json twice":          {"x.jsonl", "{\"n\": 1}\n", "{\"n\": 1, \"n\": 2}\n", []string{":2:", `the key "n" stands twice`}},
		"json deep":           {"x.jsonl", "{\"n\": 1}\n", "{\"n\": " + deep + "}\n", []string{":2:", "not one JSON object"}},
		"json Latin-1":        {"x.jsonl", "{\"n\": 1}\n", "{\"secret\": \"\xe9\"}\n", []string{":2:13: the text is not UTF-8", "convert the file"}},
		"json UTF-16":         {"x.jsonl", "", "\xff\xfe{\x00}\x00", []string{":1:1: the text is not UTF-8"}},
		"json type":           {"x.jsonl", "\ufeff{\"n\": 1}\n", "{\"n\": \"secret\"}\n", []string{`:2:7: column "n": the value is no BIGINT`}},
		"json text":           {"x.jsonl", "{\"n\": 1}\n", "{\"n\": \"2\"}\n", []string{`:2:7: column "n": the value is no BIGINT`}},
		"csv sign":            {"x.csv", "n\n1\n", "+2\n", []string{`:3:1: column "n": the value is no BIGINT`}},
		"json column":         {"x.jsonl", "\ufeff{\"n\": 1}\n", "{\"n\": 1, \"m\": 2}\n", []string{`:2:15: column "m": it is not in the rows`}},
		"json keys":           {"x.jsonl", "{\"n\": 1}\n", "{" + manyKeys() + "}\n", []string{":2:", "more than 10000 keys"}},
		"csv fields":          {"x.csv", "n,m\n1,2\n", "1,2,secret\n", []string{":3:1: the record has 3 fields, the header 2", "quote fields"}},
		"csv field":           {"x.csv", "n,m\n1,2\n", "1\n", []string{":3:1: the record has 1 fields, the header 2"}},
		"csv bare quote":      {"x.csv", "n,m\n1,2\n", "1,a\"secret\n", []string{":3:4: a quote stands in a field without quotes", "double"}},
		"csv after quote":     {"x.csv", "n,m\n1,2\n", "1,\"a\"secret\n", []string{":3:5: ", "line 3", "double the quotes"}},
		"csv open quote":      {"x.csv", "n,m\n1,2\n", "1,\"a\nb\n", []string{"the record that begins in line 3 does not end well"}},
		"csv Latin-1":         {"x.csv", "n,m\n1,\"2\n\n\"\n", "1,\xe9\n", []string{":5:3: the text is not UTF-8"}},
		"csv type":            {"x.csv", "\ufeffn,m\n1,2\n", "secret,2\n", []string{`:3:1: column "n": the value is no BIGINT`}},
		"csv second type":     {"x.csv", "n,m\n1,2\n", "2,secret\n", []string{`:3:3: column "m": the value is no BIGINT`}}, // n was taken already
		"csv bool":            {"x.csv", "n,m\ntrue,\"2\n\"\n", "secret,2\n", []string{`:4:1: column "n": the value is no BOOLEAN`}},
		"csv time":            {"x.csv", "n,m\n2024-01-01T00:00:00Z,1\n", "2024-01-01T00:00:00,2\n", []string{`:3:1: column "n": the value is no TIMESTAMP with a zone`}},
		"csv local time":      {"x.csv", "n,m\n2024-01-01T00:00:00,1\n", "2024-01-01T00:00:00Z,2\n", []string{`:3:1: column "n": the value is no TIMESTAMP without a zone`}},
		"csv date and double": {"x.csv", "n,m\n2024-01-01,1.5\n", "2024-01-02,1_0\n", []string{`:3:12: column "m": the value is no DOUBLE`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := folder(t)
			put(t, st, c.file, c.good+c.bad)
			if c.good == "" {
				_, err := tryOpen(t, st, SourceOptions{})
				contains(t, err, append(c.says, "files: "+c.file)...)
				return
			}
			put(t, st, c.file, c.good)
			batches := map[int]string{}
			for _, size := range []int{1, 1000} {
				s := open(t, st, SourceOptions{BatchRows: size})
				put(t, st, c.file, c.good+c.bad) // the types are of the good rows
				out := drain(t, s, nil)
				put(t, st, c.file, c.good)
				contains(t, out.err, append(c.says, "files: "+c.file)...)
				if !errors.Is(out.err, schemas.ErrInvalid) || strings.Contains(out.err.Error(), "secret") {
					t.Fatalf("the error %q is not schemas.ErrInvalid, or quotes a value", out.err)
				}
				equal(t, len(out.rows), 1)
				batches[size] = join(out.rows) + out.err.Error()
			}
			equal(t, batches[1], batches[1000])
		})
	}
	for name, c := range map[string]struct{ data, says string }{
		"no name":    {"a,,b\n", "x.csv:1:3: the header names column 2 \"\""},
		"twice":      {"a,b,a\n", "x.csv:1:5: the header names column 3 \"a\""},
		"too many":   {strings.Repeat("a,", maxColumns) + "a\n", "more than 10000 columns"},
		"open quote": {"a,\"b\n", "begins in line 1"},
	} {
		st := folder(t)
		put(t, st, "x.csv", c.data)
		_, err := tryOpen(t, st, SourceOptions{})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("a header with %s: %v", name, err)
		}
	}
}

func manyKeys() string {
	var keys strings.Builder
	for i := range maxColumns + 1 {
		fmt.Fprintf(&keys, `"k%d":1,`, i)
	}
	return keys.String() + `"z":1`
}

func TestBrokenCompression(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{".gz", ".zst"} {
		for _, format := range []Format{JSONL, CSV} {
			name := "x." + string(format) + suffix
			whole := compress(t, name, content(format, 0, 100))
			st := folder(t)
			put(t, st, "a."+string(format), content(format, 0, 1))
			s := open(t, st, SourceOptions{Columns: []string{"id"}})
			s.files = []found{{name: "x" + "." + string(format) + suffix, format: format}}
			raw := func(data []byte) {
				t.Helper()
				w, err := st.Create(t.Context(), name)
				must(t, err)
				_, err = w.Write(data)
				must(t, err)
				must(t, w.Commit(t.Context()))
			}
			for length := range len(whole) {
				raw(whole[:length])
				out := drain(t, s, nil)
				if length == 0 && suffix == ".zst" {
					must(t, out.err) // no frame at all is a file without rows
					continue
				}
				contains(t, out.err, "files: "+name+":", "data is broken or cut off")
				if !errors.Is(out.err, schemas.ErrInvalid) || errors.Is(out.err, io.EOF) {
					t.Fatalf("%v is not schemas.ErrInvalid, or looks like an end", out.err)
				}
			}
			raw(append([]byte("plain"), whole...))
			contains(t, drain(t, s, nil).err, "data is broken or cut off")
			raw(append(whole, whole...)) // members follow one another
			if format == JSONL {
				equal(t, len(read(t, s, nil)), 200)
			}
		}
	}
}

// A line has a limit; up to it, it is a row.
func TestLongLines(t *testing.T) {
	t.Parallel()
	st := folder(t)
	text := strings.Repeat("x", maxLineBytes-len(`{"a":""}`))
	put(t, st, "x.jsonl", `{"a":"`+text+`"}`+"\r\n{\"a\":\"\"}\n")
	rows := read(t, open(t, st, SourceOptions{}), nil)
	equal(t, len(rows), 2)
	put(t, st, "x.jsonl", "{\"a\":\"\"}\n"+`{"a":"`+text+`xyz"}`+"\n")
	_, err := tryOpen(t, st, SourceOptions{})
	contains(t, err, "x.jsonl:2:16777216: the line is longer than 16777216 bytes")

	put(t, st, "x.csv", "a\n"+text+"\nb\n")
	csvOnly := SourceOptions{Patterns: []string{"x.csv"}}
	equal(t, len(read(t, open(t, st, csvOnly), nil)), 2)
	put(t, st, "x.csv", "a\n\"1\n\"\n\"2\n\n\n"+strings.Repeat("x\n", maxLineBytes/2+bufferBytes)+"\"\n")
	_, err = tryOpen(t, st, csvOnly)
	contains(t, err, "x.csv:4:1: the record is longer than 16777216 bytes", "is a closing quote missing?")
}

// rows is a store with one object of any length, made while it is read.
type rows struct {
	store.Store
	line   string
	length int64
	read   atomic.Int64 // the end of what was read
}

func (r *rows) List(context.Context, string, string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) { yield(store.Object{Name: "x.jsonl", Size: r.length}, nil) }
}

func (r *rows) Open(context.Context, string) (store.Reader, error) { return r, nil }

func (r *rows) Size() int64 { return r.length }

func (r *rows) Close() error { return nil }

func (r *rows) ReadAt(p []byte, offset int64) (int, error) {
	n := int(min(int64(len(p)), r.length-offset))
	for i := range p[:n] {
		p[i] = r.line[(offset+int64(i))%int64(len(r.line))]
	}
	r.read.Store(offset + int64(n))
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// A file is never read whole: not to infer the types, not to give the first batch, not to give all of them.
func TestMemoryIsBounded(t *testing.T) { //nolint:paralleltest // it measures the heap
	const size = 48 << 20
	line := fmt.Sprintf("{\"id\":1,\"text\":%q}\n", strings.Repeat("x", 1000))
	st := &rows{line: line, length: size / int64(len(line)) * int64(len(line))}
	s := open(t, st, SourceOptions{BatchRows: 1024})
	if read := st.read.Load(); read > 2<<20 {
		t.Errorf("the types took %d bytes of the file", read)
	}
	var peak uint64
	var base, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&base)
	count := int64(0)
	for batch, err := range s.Read(t.Context(), nil) {
		must(t, err)
		if count == 0 && st.read.Load() > 2<<20 {
			t.Errorf("the first batch took %d bytes of the file", st.read.Load())
		}
		if count += batch.Record.NumRows(); count%(16<<10) == 0 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapAlloc)
		}
		batch.Record.Release()
	}
	equal(t, count, st.length/int64(len(line)))
	if grown := int64(peak) - int64(base.HeapAlloc); grown > 16<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}

// A batch of long rows ends before it has its rows.
func TestBatchBytes(t *testing.T) {
	t.Parallel()
	st := folder(t)
	put(t, st, "x.jsonl.zst", strings.Repeat(`{"a":"`+strings.Repeat("x", 10<<20)+`"}`+"\n", 8))
	s := open(t, st, SourceOptions{})
	var sizes []int64
	for batch, err := range s.Read(t.Context(), schemas.Marks{"x.jsonl.zst": 0}) {
		must(t, err)
		sizes = append(sizes, batch.Record.NumRows())
		batch.Record.Release()
	}
	equal(t, fmt.Sprint(sizes), "[7 1]")
}
