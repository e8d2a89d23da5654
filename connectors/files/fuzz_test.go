package files

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/schemas"
)

// decode reads all rows as "name=kind:text" lines, and checks that every place is in the data.
func decode(t *testing.T, rows decoder) (out []string, err error) {
	t.Helper()
	for {
		row, err := rows.next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			var line, column int
			if _, scanErr := fmt.Sscanf(err.Error(), "%d:%d: ", &line, &column); scanErr != nil || line < 1 || column < 1 {
				t.Fatalf("the error %q does not begin with its place", err)
			}
			return out, err
		}
		equal(t, len(row.columns), len(row.cells))
		var cells []string
		for i, c := range row.cells {
			if line, column := rows.place(i); line < 1 || column < 1 {
				t.Fatalf("cell %d is at %d:%d", i, line, column)
			}
			if !utf8.ValidString(c.text) || !utf8.ValidString(row.columns[i]) {
				t.Fatalf("%q is not UTF-8", c.text)
			}
			cells = append(cells, fmt.Sprintf("%q=%d:%q", row.columns[i], c.kind, c.text))
		}
		out = append(out, strings.Join(cells, " "))
	}
}

// A line is a row exactly where the standard library reads it as one object whose keys differ, and has its values.
func FuzzJSONL(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "{\"a\":1}\r\n\n{\"a\":null,\"b\":[1,{}],\"c\":\"\\u00e9\\ud800\"}", "\ufeff{\"a\":true}\n \t\n", "{\"a\":1}{\"a\":1}", "{\"a\":1,\"a\":2}",
		"[1]", "null", "{\"a\":", "{\"a\":1e400}", "{\"a\":01}", "{\"a\" : \"\\x\"}", "\xff", "{\"\xff\":1}", "{\"a\":1,}", "{\"a\":{\"a\":1,\"a\":2}} \n\n\n", "\u00a0",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := decode(t, newJSONDecoder(bytes.NewReader(data)))
		var want []string
		for i, line := range bytes.Split(data, []byte("\n")) {
			if i == 0 {
				line = bytes.TrimPrefix(line, []byte("\ufeff"))
			}
			if len(bytes.Trim(line, " \t\r")) == 0 {
				continue
			}
			var object map[string]json.RawMessage
			if !utf8.Valid(line) || json.Unmarshal(line, &object) != nil || object == nil {
				break
			}
			want = append(want, strconv.Itoa(len(object)))
		}
		for i, row := range got {
			if i >= len(want) {
				t.Fatalf("row %d of %q is none: %s", i, data, row)
			}
			if keys := strings.Count(row, `"=`); want[i] == "0" && row != "" || want[i] == "1" && keys == 0 {
				t.Fatalf("row %d of %q is %s, with %s keys", i, data, row, want[i])
			}
		}
		if len(got) < len(want) && (err == nil || !strings.Contains(err.Error(), "stands twice")) {
			t.Fatalf("%d rows of %q, want %d: %v", len(got), data, len(want), err)
		}
	})
}

// What is read and written again is read as the same.
func FuzzCSV(f *testing.F) {
	for _, seed := range []string{
		"", "a", "a,b\n1,2\n", "\ufeffa,b\r\n\"1\",\"x \"\"y\"\"\r\nz\"\r\n\r\n,\r\n", "a,a\n", "a,\n", "a\n1,2\n", "a\n\"1", "a\n1\"2\n", "a,b\n\"1\"2,3\n", "a\n\xff\n", "\xff\n", "\n\n\na\r1\n", "a\n\"\"\n", "a\n\"\r\n\"\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		first := newCSVDecoder(bytes.NewReader(data))
		got, err := decode(t, first)
		if err != nil || first.header == nil {
			return
		}
		var again bytes.Buffer
		w := csv.NewWriter(&again)
		must(t, w.Write(first.header))
		second := newCSVDecoder(bytes.NewReader(data))
		for {
			row, err := second.next()
			if errors.Is(err, io.EOF) {
				break
			}
			must(t, err)
			var record []string
			for _, c := range row.cells {
				record = append(record, c.text)
			}
			if len(record) == 1 && record[0] == "" {
				w.Flush()
				again.WriteString("\"\"\n") // the writer leaves it a blank line, which is no row
				continue
			}
			must(t, w.Write(record))
		}
		w.Flush()
		back, err := decode(t, newCSVDecoder(bytes.NewReader(again.Bytes())))
		must(t, err)
		// A first header cell that begins with a byte order mark loses it in the second reading.
		if !strings.HasPrefix(first.header[0], "\ufeff") {
			equal(t, join(back), join(got))
		}
	})
}

// A column of the kind that was guessed takes the values that it was guessed from, and numbers read back the same.
func FuzzInference(f *testing.F) {
	for i, seed := range [][2]string{
		{"1", "2.5"},
		{"-0", "9223372036854775807"},
		{"9223372036854775808", "1e308"},
		{"007", "1e400"},
		{"true", "false"},
		{"2024-02-29", "2024-02-30"},
		{"2024-02-29T12:00:00Z", "2024-02-29 12:00:00.123456789+05:30"},
		{"2024-02-29 12:00:00", "2024-02-29T12:00:00,5"},
		{"", "x"},
		{"0000-01-01", "9999-12-31"},
		{"-9223372036854775808", "1e-400"},
		{"[1]", "{}"},
	} {
		f.Add(uint8(i), seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, kinds uint8, a, b string) {
		cells := []cell{{kind: cellKind(kinds % 4), text: a}, {kind: cellKind(kinds / 4 % 4), text: b}, {}}
		guessed := widen(kindOf(cells[0]), kindOf(cells[1]))
		equal(t, widen(kindOf(cells[1]), kindOf(cells[0])), guessed)
		equal(t, widen(guessed, kindOf(cells[2])), guessed)
		builder := array.NewBuilder(memory.DefaultAllocator, guessed.dataType())
		defer builder.Release()
		add := appender(builder)
		for i, c := range cells {
			must(t, add(c))
			equal(t, builder.Len(), i+1)
		}
		if numbers, ok := builder.(*array.Int64Builder); ok && cells[0].kind != nullCell && a != "-0" {
			equal(t, strconv.FormatInt(numbers.Value(0), 10), a)
		}
		if numbers, ok := builder.(*array.Float64Builder); ok && cells[0].kind != nullCell && math.IsInf(numbers.Value(0), 0) {
			t.Fatalf("%q became infinite", a)
		}
	})
}

// Whatever a file holds, its rows and its error are the same at every batch size and from every row on.
func FuzzTextFile(f *testing.F) {
	f.Add(true, []byte("{\"a\":1,\"b\":\"x\"}\n{\"a\":2}\n{\"b\":\"2024-01-01\"}\n{\"c\":1}\n"), uint8(2))
	f.Add(true, []byte("{\"a\":1,\"b\":true}\n{\"b\":false,\"a\":\"x\"}\n"), uint8(1))
	f.Add(false, []byte("a,b,c\n1,2.5,true\n2,,\n\"x\n\",1,1\n"), uint8(1))
	f.Add(false, []byte("a,b\n2024-01-01,2024-01-01T00:00:00Z\n2024-01-02,\"\"\n1\n"), uint8(0))
	f.Fuzz(func(t *testing.T, isJSON bool, data []byte, done uint8) {
		opened := func() *textFile {
			file := &textFile{name: "x", input: &input{}, close: func() error { return nil }}
			if file.rows = newCSVDecoder(bytes.NewReader(data)); isJSON {
				file.rows = newJSONDecoder(bytes.NewReader(data))
			}
			return file
		}
		guess := newGuess()
		for file := opened(); guess.rows < 2; { // the rows behind may not fit
			row, err := file.next()
			if err != nil {
				break
			}
			guess.observe(row)
		}
		schema, err := guess.schema()
		if err != nil {
			return
		}
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		defer mem.AssertSize(t, 0)
		collect := func(batchRows int, done int64) (rows []string, err error) {
			s := &Source{options: SourceOptions{BatchRows: batchRows}, schema: schema, strict: done%2 == 0, memory: mem}
			s.batches(opened(), done, func(record arrow.Record, failed error) bool {
				if err = failed; err == nil {
					rows = append(rows, lines(t, record)...)
					record.Release()
				}
				return true
			})
			return rows, err
		}
		whole, wholeErr := collect(1, 0)
		three, threeErr := collect(3, 0)
		equal(t, join(three), join(whole))
		equal(t, fmt.Sprint(threeErr), fmt.Sprint(wholeErr))
		from := 2 * int64(done)
		rest, restErr := collect(2, from)
		if from <= int64(len(whole)) {
			equal(t, join(rest), join(whole[from:]))
			equal(t, fmt.Sprint(restErr), fmt.Sprint(wholeErr))
		}
	})
}

// part is a folder with one file in memory.
type part struct {
	store.Store
	data []byte
}

type partReader struct{ *bytes.Reader }

func (partReader) Close() error { return nil }

func (p part) List(context.Context, string, string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) { yield(store.Object{Name: partName(1)}, nil) }
}

func (p part) Open(context.Context, string) (store.Reader, error) {
	return partReader{bytes.NewReader(p.data)}, nil
}

// A footer is marks or an error, whatever its bytes are.
func FuzzFooter(f *testing.F) {
	sound := func(prefix string, marks schemas.Marks) []byte {
		st := folder(f)
		s := sink(st, prefix)
		must(f, s.Commit(f.Context(), nil, marks, nil))
		reader, err := st.Open(f.Context(), partName(1))
		must(f, err)
		data := make([]byte, reader.Size())
		_, err = reader.ReadAt(data, 0)
		must(f, err)
		must(f, reader.Close())
		return data
	}
	f.Add(sound("job/0/", schemas.Marks{"a": 1, "data/ä 1.jsonl": math.MaxInt64}))
	f.Add(sound("job/1/", schemas.Marks{"x": 0}))
	f.Add(sound("", schemas.Marks{"job/0/x": 7}))
	f.Add([]byte("PAR1PAR1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		marks, err := sink(part{data: data}, "job/0/").Marks(t.Context())
		if err != nil && !errors.Is(err, schemas.ErrInvalid) {
			t.Fatalf("%v is not schemas.ErrInvalid", err)
		}
		for name, count := range marks {
			if count < 0 {
				t.Fatalf("mark %q is %d", name, count)
			}
		}
	})
}

// Every mark comes back, under its own prefix alone.
func FuzzMarks(f *testing.F) {
	f.Add("job/0/", "data/a.jsonl", int64(1), "b", int64(math.MaxInt64))
	f.Add("", "", int64(0), "\x00ä", int64(2))
	f.Add("\xff", "\xfe", int64(3), "inflow.mark:", int64(4))
	f.Fuzz(func(t *testing.T, prefix, one string, first int64, two string, second int64) {
		if first < 0 || second < 0 {
			return
		}
		want := schemas.Marks{one: first, two: second}
		s := NewSink(SinkOptions{Schema: idsSchema(), Prefix: prefix})
		var out bytes.Buffer
		rows, err := s.writer(&out)
		must(t, err)
		others := map[string]string{}
		if prefix != "" { // else every mark is its own
			others["inflow.mark:!"+prefix] = "9"
		}
		for key, value := range s.footer(last{metadata: others}, new(pending), want) {
			rows.SetMetadata(key, value)
		}
		_, err = rows.Close()
		must(t, err)
		got, err := sink(part{data: out.Bytes()}, prefix).Marks(t.Context())
		must(t, err)
		if !got.Equal(want) {
			t.Fatalf("%v came back as %v", want, got)
		}
	})
}
