package serde

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/schemas"
)

const longSchema = `{"type":"record","name":"R","fields":[{"name":"n","type":"long"}]}`

func avroOptions(registry *Registry) Options {
	return Options{Format: Avro, Registry: registry, Topic: "orders"}
}

func TestRegistryAuthentication(t *testing.T) {
	t.Parallel()
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("ann:s3cret"))
	cases := map[string]struct {
		expected string
		options  RegistryOptions
		mend     string
	}{
		"basic":          {basic, RegistryOptions{Username: "ann", Password: "s3cret"}, ""},
		"bearer":         {"Bearer t0ken", RegistryOptions{Token: "t0ken"}, ""},
		"wrong password": {basic, RegistryOptions{Username: "ann", Password: "wr0ng"}, "username and password"},
		"nothing":        {basic, RegistryOptions{}, "username and password"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := newFakeRegistry()
			registry.auth = c.expected
			registry.add("orders-value", "", longSchema)
			_, err := NewDecoder(t.Context(), avroOptions(registry.client(t, c.options)))
			if c.mend == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, schemas.ErrPermission) || schemas.ClassOf(err) != schemas.Fatal || !strings.Contains(err.Error(), c.mend) {
				t.Fatalf("the error is %v", err)
			}
			for _, secret := range []string{"wr0ng", "s3cret", "t0ken"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows %s: %v", secret, err)
				}
			}
			if registry.count("") != 1 {
				t.Errorf("asked %d times, though asking again cannot help", registry.count(""))
			}
		})
	}
}

func TestRegistryURL(t *testing.T) {
	t.Parallel()
	for _, o := range []RegistryOptions{
		{URL: ""},
		{URL: "registry:8081"},
		{URL: "ftp://registry"},
		{URL: "https://ann:s3cret@registry"},
		{URL: "https://registry", Username: "ann", Token: "t"},
	} {
		_, err := NewRegistry(o)
		wantInvalid(t, err, "schema registry")
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

// TestRegistryOverTLS speaks to a server with a certificate of its own, by way of the given client.
func TestRegistryOverTLS(t *testing.T) {
	t.Parallel()
	fake := newFakeRegistry()
	fake.add("orders-value", "AVRO", longSchema)
	server := httptest.NewUnstartedServer(fake)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // one client is a stranger
	server.StartTLS()
	defer server.Close()
	registry, err := NewRegistry(RegistryOptions{URL: server.URL, HTTP: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	newDecoder(t, avroOptions(registry))
	stranger, err := NewRegistry(RegistryOptions{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	_, err = NewDecoder(t.Context(), avroOptions(stranger))
	if schemas.ClassOf(err) != schemas.Transient || !strings.Contains(fmt.Sprint(err), "certificate") {
		t.Errorf("without the certificate: %v", err)
	}
}

func TestSubjects(t *testing.T) {
	t.Parallel()
	fake := newFakeRegistry()
	two := strings.Replace(longSchema, "}]}", `},{"name":"m","type":"int","default":1}]}`, 1)
	fake.add("orders-value", "AVRO", longSchema)
	fake.add("orders-value", "AVRO", two)
	fake.add("orders-key", "AVRO", `"string"`)
	fake.add("other", "AVRO", two)
	registry := fake.client(t, RegistryOptions{})
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, "n m"},
		{Options{Version: 1}, "n"},
		{Options{Subject: "other"}, "n m"},
		{Options{Key: true}, "key"},
	} {
		c.o.Format, c.o.Registry, c.o.Topic = Avro, registry, "orders"
		names := []string{}
		for _, field := range newDecoder(t, c.o).Fields() {
			if !field.Nullable {
				t.Errorf("%s is not nullable", field.Name)
			}
			names = append(names, field.Name)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%+v: the columns are %s, want %s", c.o, got, c.want)
		}
	}
	for want, o := range map[string]Options{
		"subject nobody-value does not exist at http://registry.test/api": {Topic: "nobody"},
		"subject orders-value version 7 does not exist":                   {Topic: "orders", Version: 7},
		"orders-value version 2 is of AVRO, not PROTOBUF":                 {Topic: "orders", Format: Protobuf},
		"which subject of the registry the values have":                   {},
		"the version -1 is none":                                          {Topic: "orders", Version: -1},
	} {
		if o.Registry = registry; o.Format == "" {
			o.Format = Avro
		}
		_, err := NewDecoder(t.Context(), o)
		wantInvalid(t, err, want)
	}
}

// TestRegistryOutage: it is asked again, and a record waits instead of being lost.
func TestRegistryOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newFakeRegistry()
		id := fake.add("orders-value", "AVRO", longSchema)
		decoder := newDecoder(t, avroOptions(fake.client(t, RegistryOptions{})))
		failures := attempts - 1
		fake.breaks = func(*http.Request) int {
			if failures == 0 {
				return 0
			}
			failures--
			return http.StatusServiceUnavailable
		}
		began := time.Now()
		if got := decoded(t, decoder, framed(id, 84)); !strings.Contains(got, "= 42") {
			t.Fatal(got)
		}
		if waited := time.Since(began); waited != 5*firstBackoff {
			t.Errorf("waited %v", waited)
		}
		other := fake.add("else", "AVRO", longSchema+" ")
		failures = 100
		record, errs := decodeAll(t, decoder, framed(other, 84), framed(id, 84))
		defer record.Release()
		if schemas.ClassOf(errs[0]) != schemas.Transient || errs[1] != nil {
			t.Errorf("of the unknown schema: %v; of the known one: %v", errs[0], errs[1])
		}
		failures = 0
		again, errs := decodeAll(t, decoder, framed(other, 84))
		defer again.Release()
		if errs[0] != nil {
			t.Errorf("the outage was kept: %v", errs[0])
		}
	})
}

// TestLongAnswer: what no registry has to say is not read to its end.
func TestLongAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newFakeRegistry()
		fake.add("orders-value", "AVRO", longSchema+strings.Repeat(" ", maxAnswerBytes))
		_, err := NewDecoder(t.Context(), avroOptions(fake.client(t, RegistryOptions{})))
		if schemas.ClassOf(err) != schemas.Transient || !strings.Contains(fmt.Sprint(err), "the answer is longer than") {
			t.Errorf("%v", err)
		}
		fake.add("long-value", "AVRO", longSchema+strings.Repeat(" ", maxSchemaBytes))
		_, err = NewDecoder(t.Context(), Options{Format: Avro, Registry: fake.client(t, RegistryOptions{}), Topic: "long"})
		wantInvalid(t, err, "is longer than")
	})
}

// TestUnknownID: the bytes are at fault, and the registry is not asked for each of them.
func TestUnknownID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newFakeRegistry()
		id := fake.add("orders-value", "AVRO", longSchema)
		decoder := newDecoder(t, avroOptions(fake.client(t, RegistryOptions{})))
		for range 3 {
			record, errs := decodeAll(t, decoder, framed(id+1, 84))
			record.Release()
			wantUndecodable(t, errs[0], "knows no schema")
		}
		if asked := fake.count("GET /schemas/ids/"); asked != 1 {
			t.Errorf("asked %d times", asked)
		}
		fake.add("orders-value", "AVRO", longSchema+" ")
		<-time.After(keepUnknown + time.Second)
		if got := decoded(t, decoder, framed(id+1, 84)); !strings.Contains(got, "= 42") {
			t.Fatal(got)
		}
	})
}

// TestAnotherServer: what answers 404 to everything is no registry, and its records are not undecodable.
func TestAnotherServer(t *testing.T) {
	t.Parallel()
	fake := newFakeRegistry()
	fake.breaks = func(*http.Request) int { return http.StatusNotFound }
	decoder := newDecoder(t, Options{Format: Avro, Registry: fake.client(t, RegistryOptions{}), Schema: longSchema})
	rows, errs := decodeAll(t, decoder, framed(1, 84))
	defer rows.Release()
	if schemas.ClassOf(errs[0]) != schemas.Fatal || !strings.Contains(fmt.Sprint(errs[0]), "is the registry's URL right?") {
		t.Errorf("%v", errs[0])
	}
}

// TestAskedOnce has many decoders meet a new schema at the same moment.
func TestAskedOnce(t *testing.T) {
	t.Parallel()
	fake := newFakeRegistry()
	id := fake.add("orders-value", "AVRO", longSchema)
	first := newDecoder(t, avroOptions(fake.client(t, RegistryOptions{})))
	fake.wait = make(chan struct{})
	var group, started sync.WaitGroup
	for range 16 {
		started.Add(1)
		decoder := first.Clone()
		group.Go(func() {
			started.Done()
			record, errs := decodeAll(t, decoder, framed(id, 84), framed(id, 84))
			defer record.Release()
			if errs[0] != nil || errs[1] != nil {
				t.Errorf("%v", errs)
			}
		})
	}
	started.Wait()
	close(fake.wait)
	group.Wait()
	if asked := fake.count("GET /schemas/ids/"); asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

// TestCancelledSearch: one who gives up does not make the others fail.
func TestCancelledSearch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var known memo[int, string]
		ctx, cancel := context.WithCancel(t.Context())
		entered := make(chan struct{})
		var group sync.WaitGroup
		group.Go(func() {
			_, err := known.get(ctx, 1, func(ctx context.Context) (string, time.Duration, error) {
				close(entered)
				<-ctx.Done()
				return "", 0, ctx.Err()
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("who gave up got %v", err)
			}
		})
		<-entered
		group.Go(func() {
			value, err := known.get(t.Context(), 1, func(context.Context) (string, time.Duration, error) { return "found", forever, nil })
			if value != "found" || err != nil {
				t.Errorf("who waited got %q, %v", value, err)
			}
		})
		synctest.Wait()
		cancel()
		group.Wait()
	})
}

func TestMemoIsBounded(t *testing.T) {
	t.Parallel()
	var known memo[int, int]
	for i := range 3 * maxKnown {
		if _, err := known.get(t.Context(), i, func(context.Context) (int, time.Duration, error) { return i, forever, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if len(known.known) > maxKnown {
		t.Errorf("it holds %d", len(known.known))
	}
}

func TestWireFormat(t *testing.T) {
	t.Parallel()
	fake := newFakeRegistry()
	id := fake.add("orders-value", "AVRO", longSchema)
	json := fake.add("json", "JSON", `{"type":"object"}`)
	decoder := newDecoder(t, avroOptions(fake.client(t, RegistryOptions{})))
	record, errs := decodeAll(t, decoder, []byte{84}, []byte{}, append([]byte{1}, framed(id, 84)[1:]...), framed(id), framed(id, 84, 0), framed(json, 84),
		framed(id, 84), nil)
	defer record.Release()
	for i, want := range []string{
		"does not begin with a schema's id", "does not begin with a schema's id", "does not begin with a schema's id",
		"n: it ends too early", "bytes follow the record", fmt.Sprintf("schema %d (json version 1) is of JSON, not AVRO", json),
	} {
		wantUndecodable(t, errs[i], want)
	}
	if errs[6] != nil || errs[7] != nil || !record.Column(0).IsNull(1) {
		t.Errorf("%v, %v: %s", errs[6], errs[7], record)
	}
}

func TestRefusedRegistration(t *testing.T) {
	t.Parallel()
	schema := arrow.NewSchema([]arrow.Field{nullable("n", arrow.PrimitiveTypes.Int64)}, nil)
	for _, c := range []struct {
		status int
		want   []string
	}{
		{http.StatusConflict, []string{"orders-value: reader's field n has no default", "loosen the subject's compatibility", "http://registry.test/api/config/orders-value"}},
		{http.StatusUnprocessableEntity, []string{"for orders-value for invalid"}},
		{http.StatusForbidden, []string{"permission"}},
	} {
		fake := newFakeRegistry()
		fake.refuse = func(string, string) (int, string) { return c.status, "reader's field n has no default" }
		_, err := NewEncoder(t.Context(), avroOptions(fake.client(t, RegistryOptions{})), schema, nil)
		if schemas.ClassOf(err) != schemas.Fatal {
			t.Errorf("%d: the class of %v", c.status, err)
		}
		for _, want := range c.want {
			if !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("%d: %v does not say %q", c.status, err, want)
			}
		}
		if fake.count("POST") != 1 {
			t.Errorf("%d: asked %d times", c.status, fake.count("POST"))
		}
	}
}

// TestReferences has each format gather a schema that two others of the same schema refer to.
func TestReferences(t *testing.T) {
	t.Parallel()
	fake := newFakeRegistry()
	fake.add("country", "AVRO", `{"type":"enum","name":"Country","namespace":"geo","symbols":["FR","PL"]}`)
	fake.add("address", "AVRO", `{"type":"record","name":"Address","namespace":"geo","fields":[{"name":"country","type":"Country"}]}`, fakeReference{"geo.Country", "country", 1})
	avroID := fake.add("avro-value", "AVRO", `{"type":"record","name":"Order","fields":[{"name":"from","type":"geo.Address"},{"name":"to","type":["null","geo.Address"]},{"name":"via","type":"geo.Country"}]}`,
		fakeReference{"geo.Address", "address", 1}, fakeReference{"geo.Country", "country", 1})
	fake.add("country.proto", "PROTOBUF", `syntax = "proto3"; package geo; enum Country { FR = 0; PL = 1; }`)
	fake.add("address.proto", "PROTOBUF", `syntax = "proto3"; package geo; import "geo/country.proto"; message Address { Country country = 1; }`,
		fakeReference{"geo/country.proto", "country.proto", 1})
	protoID := fake.add("protobuf-value", "PROTOBUF", `syntax = "proto3"; import "geo/address.proto"; import "geo/country.proto"; message Order { geo.Address from = 1; geo.Address to = 2; geo.Country via = 3; }`,
		fakeReference{"geo/address.proto", "address.proto", 1}, fakeReference{"geo/country.proto", "country.proto", 1})
	fake.add("country.json", "JSON", `{"type":"string","enum":["FR","PL"]}`)
	fake.add("address.json", "JSON", `{"type":"object","properties":{"country":{"$ref":"country.json"}}}`, fakeReference{"country.json", "country.json", 1})
	jsonID := fake.add("json_schema-value", "JSON", `{"type":"object","properties":{"from":{"$ref":"address.json"},"to":{"$ref":"#/definitions/to"},"via":{"$ref":"country.json"}},
		"definitions":{"to":{"oneOf":[{"type":"null"},{"$ref":"address.json"}]}}}`, fakeReference{"address.json", "address.json", 1}, fakeReference{"country.json", "country.json", 1})
	registry := fake.client(t, RegistryOptions{})
	want := `
from struct<country: utf8> = {"PL"}
to struct<country: utf8> = NULL
via utf8 = "PL"
`
	for _, c := range []struct {
		format  Format
		payload []byte
	}{
		{Avro, framed(avroID, 2, 0, 2)},
		{Protobuf, framed(protoID, 0, 0x0a, 2, 8, 1, 0x18, 1)},
		{JSONSchema, framed(jsonID, []byte(`{"from":{"country":"PL"},"to":null,"via":"PL"}`)...)},
	} {
		compare(t, decoded(t, newDecoder(t, Options{Format: c.format, Registry: registry, Topic: string(c.format)}), c.payload), want)
	}
	for range 20 { // maps have no order
		name, _ := (schemaLoader{map[string]string{"a.json": "", "b/a.json": "", "c/b/a.json": ""}}).find("mem://schema/b/a.json")
		if name != "b/a.json" {
			t.Fatalf("found %s", name)
		}
	}
	record, errs := decodeAll(t, newDecoder(t, Options{Format: JSONSchema, Registry: registry, Topic: "json_schema"}),
		framed(jsonID, []byte(`{"from":{"country":"SECRET"}}`)...))
	defer record.Release()
	wantUndecodable(t, errs[0], "enum")
	if strings.Contains(errs[0].Error(), "SECRET") {
		t.Errorf("the error shows the record: %v", errs[0])
	}
}

func TestReferencesAreBounded(t *testing.T) {
	t.Parallel()
	fake := newFakeRegistry()
	fake.add("a", "AVRO", `{"type":"record","name":"A","fields":[]}`, fakeReference{"b", "b", 1})
	fake.add("b", "AVRO", `{"type":"record","name":"B","fields":[]}`, fakeReference{"a", "a", 1})
	for i := range 2 * maxReferenceDepth {
		fake.add(fmt.Sprint("deep", i), "AVRO", `"int"`, fakeReference{"x", fmt.Sprint("deep", i+1), 1})
	}
	wide := make([]fakeReference, maxReferences+1)
	for i := range wide {
		name := fmt.Sprint("wide", i)
		fake.add(name, "AVRO", `"int"`)
		wide[i] = fakeReference{name, name, 1}
	}
	fake.add("wide", "AVRO", `"int"`, wide...)
	fake.add("lost", "AVRO", `"int"`, fakeReference{"x", "nowhere", 1})
	registry := fake.client(t, RegistryOptions{})
	for subject, want := range map[string]string{
		"a": "refer to each other", "deep0": "through more than", "wide": "more than 64 others", "lost": "subject nowhere version 1 does not exist",
	} {
		_, err := NewDecoder(t.Context(), Options{Format: Avro, Registry: registry, Subject: subject})
		wantInvalid(t, err, want)
	}
}

// TestEncoderIsConcurrent writes rows of one record from many goroutines.
func TestEncoderIsConcurrent(t *testing.T) {
	t.Parallel()
	builder := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{nullable("n", arrow.PrimitiveTypes.Int64)}, nil))
	defer builder.Release()
	for i := range 100 {
		as[*array.Int64Builder](builder.Field(0)).Append(int64(i))
	}
	record := builder.NewRecord()
	defer record.Release()
	for _, format := range []Format{JSON, Avro, Protobuf, JSONSchema, Text} {
		encoder, err := NewEncoder(t.Context(), Options{Format: format, Topic: "t", Registry: newFakeRegistry().client(t, RegistryOptions{})}, record.Schema(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for row := range 100 {
					payload, err := encoder.Encode(t.Context(), record, row)
					if format == Text && string(payload) != fmt.Sprint(row) || err != nil {
						t.Errorf("row %d is %q: %v", row, payload, err)
					}
				}
			})
		}
		group.Wait()
	}
}
