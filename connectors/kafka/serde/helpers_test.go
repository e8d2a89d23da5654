package serde

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/schemas"
)

// fakeRegistry answers as Confluent's does, at the paths that it has.
type fakeRegistry struct {
	mu       sync.Mutex
	byID     map[int]*fakeSchema
	subjects map[string][]int // ids, by version
	asked    map[string]int   // by method and path
	refuse   func(subject, schema string) (status int, message string)
	breaks   func(r *http.Request) int // a status to answer with, 0: none
	auth     string                    // the header that is expected
	wait     chan struct{}             // answers come when it is closed
}

type fakeSchema struct {
	Schema     string          `json:"schema"`
	SchemaType string          `json:"schemaType,omitempty"`
	References []fakeReference `json:"references,omitempty"`
}

type fakeReference struct {
	Name    string `json:"name"`
	Subject string `json:"subject"`
	Version int    `json:"version"`
}

func newFakeRegistry() *fakeRegistry {
	return &fakeRegistry{byID: map[int]*fakeSchema{}, subjects: map[string][]int{}, asked: map[string]int{}}
}

// add registers a schema and returns its id.
func (f *fakeRegistry) add(subject, kind, schema string, references ...fakeReference) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.addLocked(subject, &fakeSchema{schema, kind, references})
}

func (f *fakeRegistry) addLocked(subject string, schema *fakeSchema) int {
	for _, id := range f.subjects[subject] {
		if f.byID[id].Schema == schema.Schema {
			return id
		}
	}
	id := 100 + len(f.byID)
	f.byID[id] = schema
	f.subjects[subject] = append(f.subjects[subject], id)
	return id
}

func (f *fakeRegistry) count(prefix string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	total := 0
	for path, n := range f.asked {
		if strings.HasPrefix(path, prefix) {
			total += n
		}
	}
	return total
}

func (f *fakeRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.wait != nil {
		<-f.wait
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[r.Method+" "+r.URL.Path]++
	answer := func(status int, body any) {
		w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(body); err != nil {
			panic(err)
		}
	}
	fail := func(status, code int, message string) {
		answer(status, map[string]any{"error_code": code, "message": message})
	}
	if f.breaks != nil {
		if status := f.breaks(r); status != 0 {
			fail(status, status, "broken")
			return
		}
	}
	if f.auth != "" && r.Header.Get("Authorization") != f.auth {
		fail(http.StatusUnauthorized, 40101, "Unauthorized")
		return
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case r.Method == http.MethodGet && len(parts) >= 3 && parts[0] == "schemas" && parts[1] == "ids":
		id, _ := strconv.Atoi(parts[2])
		schema, ok := f.byID[id]
		if !ok {
			fail(http.StatusNotFound, 40403, "Schema not found")
			return
		}
		if len(parts) == 4 && parts[3] == "versions" {
			uses := []map[string]any{}
			for subject, ids := range f.subjects {
				for i, each := range ids {
					if each == id {
						uses = append(uses, map[string]any{"subject": subject, "version": i + 1})
					}
				}
			}
			answer(http.StatusOK, uses)
			return
		}
		answer(http.StatusOK, schema)
	case r.Method == http.MethodGet && len(parts) == 4 && parts[0] == "subjects" && parts[2] == "versions":
		ids := f.subjects[parts[1]]
		number, err := strconv.Atoi(parts[3])
		if parts[3] == "latest" {
			number, err = len(ids), nil
		}
		if err != nil || number < 1 || number > len(ids) {
			fail(http.StatusNotFound, 40401, "Subject '"+parts[1]+"' not found.")
			return
		}
		schema := f.byID[ids[number-1]]
		answer(http.StatusOK, map[string]any{
			"subject": parts[1], "version": number, "id": ids[number-1], "schema": schema.Schema,
			"schemaType": schema.SchemaType, "references": schema.References,
		})
	case r.Method == http.MethodPost && len(parts) == 3 && parts[0] == "subjects" && parts[2] == "versions":
		var schema fakeSchema
		if err := json.NewDecoder(r.Body).Decode(&schema); err != nil {
			fail(http.StatusUnprocessableEntity, 42201, "Invalid schema")
			return
		}
		if f.refuse != nil {
			if status, message := f.refuse(parts[1], schema.Schema); status != 0 {
				fail(status, status, message)
				return
			}
		}
		answer(http.StatusOK, map[string]any{"id": f.addLocked(parts[1], &schema)})
	default:
		fail(http.StatusNotFound, 404, "HTTP 404 Not Found")
	}
}

// RoundTrip answers without a socket.
func (f *fakeRegistry) RoundTrip(r *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	f.ServeHTTP(recorder, r)
	return recorder.Result(), nil
}

func (f *fakeRegistry) client(tb testing.TB, o RegistryOptions) *Registry {
	tb.Helper()
	o.URL, o.HTTP = "http://registry.test/api", &http.Client{Transport: stripPrefix{f}}
	registry, err := NewRegistry(o)
	if err != nil {
		tb.Fatal(err)
	}
	return registry
}

type stripPrefix struct{ next http.RoundTripper }

func (s stripPrefix) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasPrefix(r.URL.Path, "/api/") {
		return nil, fmt.Errorf("the path %s is not below the URL's", r.URL.Path)
	}
	r.URL.Path = strings.TrimPrefix(r.URL.Path, "/api")
	return s.next.RoundTrip(r)
}

func newDecoder(tb testing.TB, o Options) Decoder {
	tb.Helper()
	decoder, err := NewDecoder(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	return decoder
}

// decodeAll makes a record of all that can be decoded, and returns the errors of what cannot.
func decodeAll(tb testing.TB, decoder Decoder, payloads ...[]byte) (arrow.Record, []error) {
	tb.Helper()
	builder := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(decoder.Fields(), nil))
	defer builder.Release()
	failures := make([]error, len(payloads))
	rows := 0
	for i, payload := range payloads {
		failures[i] = decoder.Append(tb.Context(), payload, builder.Fields())
		if failures[i] == nil {
			rows++
		}
		for j, column := range builder.Fields() {
			if column.Len() != rows {
				tb.Fatalf("after payload %d (error: %v) column %d has %d rows, not %d", i, failures[i], j, column.Len(), rows)
			}
		}
	}
	return builder.NewRecord(), failures
}

// decoded is one payload's row as JSON, with the columns' types.
func decoded(tb testing.TB, decoder Decoder, payload []byte) string {
	tb.Helper()
	record, failures := decodeAll(tb, decoder, payload)
	defer record.Release()
	if failures[0] != nil {
		tb.Fatalf("decode: %v", failures[0])
	}
	return rowText(tb, record, 0)
}

func rowText(tb testing.TB, record arrow.Record, row int) string {
	tb.Helper()
	var out strings.Builder
	for i, column := range record.Columns() {
		fmt.Fprintf(&out, "%s %s = %s\n", record.ColumnName(i), column.DataType(), valueText(column, row))
	}
	return out.String()
}

func valueText(column arrow.Array, row int) string {
	if column.IsNull(row) {
		return "NULL"
	}
	switch typed := column.(type) {
	case *array.Struct:
		parts := []string{}
		for i := range typed.NumField() {
			parts = append(parts, valueText(typed.Field(i), row))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case *array.Map:
		parts := []string{}
		start, end := typed.ValueOffsets(row)
		for at := start; at < end; at++ {
			parts = append(parts, valueText(typed.Keys(), int(at))+": "+valueText(typed.Items(), int(at)))
		}
		return "<" + strings.Join(parts, ", ") + ">"
	case *array.List:
		parts := []string{}
		start, end := typed.ValueOffsets(row)
		for at := start; at < end; at++ {
			parts = append(parts, valueText(typed.ListValues(), int(at)))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case *array.Binary:
		return fmt.Sprintf("%x", typed.Value(row))
	case *array.String:
		return strconv.Quote(typed.Value(row))
	case *array.Decimal128:
		scale := as[*arrow.Decimal128Type](typed.DataType()).Scale
		return string(appendDecimal(nil, typed.Value(row), scale))
	}
	return column.ValueStr(row)
}

func wantUndecodable(tb testing.TB, err error, contains string) {
	tb.Helper()
	failure, ok := errors.AsType[*schemas.Error](err)
	if !ok || failure.Class != schemas.Rejected || failure.Code != CodeUndecodable {
		tb.Fatalf("the error is %v, not one of undecodable bytes", err)
	}
	if !strings.Contains(err.Error(), contains) {
		tb.Fatalf("the error %q does not say %q", err, contains)
	}
}

func wantInvalid(tb testing.TB, err error, contains string) {
	tb.Helper()
	if !errors.Is(err, schemas.ErrInvalid) || schemas.ClassOf(err) != schemas.Fatal {
		tb.Fatalf("the error is %v, not one of the options", err)
	}
	if !strings.Contains(err.Error(), contains) {
		tb.Fatalf("the error %q does not say %q", err, contains)
	}
}

func framed(id int, payload ...byte) []byte { return append(appendFrame(nil, id), payload...) }

// as is a value of a type that it is known to have.
func as[T any](value any) T {
	typed, ok := value.(T)
	if !ok {
		panic(fmt.Sprintf("%T", value))
	}
	return typed
}
