package serde

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/inflowhq/inflow/schemas"
)

const (
	attempts       = 3 // at the registry, for one answer
	firstBackoff   = 100 * time.Millisecond
	requestTimeout = 10 * time.Second
	idleTimeout    = 30 * time.Second
	// keepUnknown is for how long an id that the registry does not know is not asked for again.
	keepUnknown = time.Minute

	maxSchemaBytes    = 1 << 20
	maxAnswerBytes    = 4 << 20
	maxReferences     = 64
	maxReferenceDepth = 16

	// latest is the registry's number for a subject's last version.
	latest = -1
)

// RegistryOptions say where the registry is, and as whom to ask.
type RegistryOptions struct {
	URL                string // of a path, too; without credentials
	Username, Password string
	Token              string       // bearer, instead
	HTTP               *http.Client // with the TLS that is needed; nil: one with the system's roots and timeouts
}

// Registry is a schema registry that speaks Confluent's REST API. What it answered is kept: a version never changes. It
// is safe for concurrent use.
type Registry struct {
	client    *sr.Client
	shown     string // the URL for messages
	ids       memo[int, *document]
	versions  memo[version, *document]
	positions memo[int, string]
}

type version struct {
	subject string
	number  int
}

func (v version) String() string {
	if v.number == latest {
		return v.subject
	}
	return fmt.Sprintf("%s version %d", v.subject, v.number)
}

// document is a schema with all that it refers to.
type document struct {
	name       string // for messages: "orders-value version 3", "schema 7"
	kind       sr.SchemaType
	text       string
	references []reference
	missing    bool // the registry does not know the id
}

type reference struct {
	name string // by which the schema's text calls it
	to   *document
}

// NewRegistry does not ask the registry anything yet.
func NewRegistry(o RegistryOptions) (*Registry, error) {
	at, err := url.Parse(o.URL)
	switch {
	case err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https": // the text may have a password
		return nil, invalid("give its URL, as in https://registry.example.com:8081", "the schema registry's URL is none")
	case at.User != nil:
		return nil, invalid("give username and password by themselves", "the schema registry's URL holds credentials")
	case o.Token != "" && o.Username+o.Password != "":
		return nil, invalid("give the one or the other", "the schema registry has both a token and a user's name or password")
	}
	at.RawQuery, at.Fragment = "", ""
	client := http.Client{Timeout: requestTimeout}
	if o.HTTP != nil {
		client = *o.HTTP
	}
	if client.Transport == nil {
		client.Transport = &http.Transport{
			Proxy:           http.ProxyFromEnvironment,
			IdleConnTimeout: idleTimeout, TLSHandshakeTimeout: requestTimeout, ForceAttemptHTTP2: true,
		}
	}
	client.Transport = boundedAnswers{client.Transport}
	options := []sr.ClientOpt{sr.URLs(at.String()), sr.HTTPClient(&client), sr.UserAgent("inflow")}
	if o.Username+o.Password != "" {
		options = append(options, sr.BasicAuth(o.Username, o.Password))
	}
	if o.Token != "" {
		options = append(options, sr.BearerToken(o.Token))
	}
	asked, err := sr.NewClient(options...)
	if err != nil {
		return nil, invalid("", "the schema registry: %w", err)
	}
	return &Registry{client: asked, shown: at.String()}, nil
}

// boundedAnswers cuts off what no registry has to say.
type boundedAnswers struct{ next http.RoundTripper }

func (b boundedAnswers) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = &boundedBody{ReadCloser: response.Body, left: maxAnswerBytes}
	return response, nil
}

type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the answer is longer than %d bytes", maxAnswerBytes)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// byID returns the schema that a record names. One that the registry does not know is marked missing.
func (r *Registry) byID(ctx context.Context, id int) (*document, error) {
	return r.ids.get(ctx, id, func(ctx context.Context) (*document, time.Duration, error) {
		name := "schema " + strconv.Itoa(id)
		var schema sr.Schema
		err := r.ask(ctx, func(ctx context.Context) (err error) {
			schema, err = r.client.SchemaByID(ctx, id)
			return err
		})
		if answer, ok := errors.AsType[*sr.ResponseError](err); ok && answer.ErrorCode/100 == http.StatusNotFound {
			// Its own 40403. A bare 404 is of something else at this URL, and no fault of the record.
			return &document{name: name, missing: true}, keepUnknown, nil
		}
		if err != nil {
			return nil, 0, r.classify("read "+name, err)
		}
		doc, err := r.load(ctx, name, &schema)
		return doc, forever, err
	})
}

// bySubject returns a version of a subject; what is the latest is asked anew each time.
func (r *Registry) bySubject(ctx context.Context, subject string, number int) (*document, error) {
	if number == 0 {
		return r.bySubjectNow(ctx, version{subject, latest})
	}
	key := version{subject, number}
	return r.versions.get(ctx, key, func(ctx context.Context) (*document, time.Duration, error) {
		doc, err := r.bySubjectNow(ctx, key)
		return doc, forever, err
	})
}

func (r *Registry) bySubjectNow(ctx context.Context, at version) (*document, error) {
	schema, err := r.version(ctx, at)
	if err != nil {
		return nil, err
	}
	return r.load(ctx, version{at.subject, schema.Version}.String(), &schema.Schema)
}

func (r *Registry) version(ctx context.Context, at version) (sr.SubjectSchema, error) {
	var schema sr.SubjectSchema
	err := r.ask(ctx, func(ctx context.Context) (err error) {
		schema, err = r.client.SchemaByVersion(ctx, at.subject, at.number)
		return err
	})
	if err == nil {
		return schema, nil
	}
	if answer, ok := errors.AsType[*sr.ResponseError](err); ok && answer.StatusCode == http.StatusNotFound {
		return schema, &schemas.Error{
			Op: "kafka", Code: "subject_not_found", HTTPStatus: answer.StatusCode,
			Mend: "give the subject that the producers use, or register a schema for it",
			Err:  fmt.Errorf("%w: subject %s does not exist at %s", schemas.ErrInvalid, at, r.shown),
		}
	}
	return schema, r.classify("read subject "+at.subject, err)
}

// load gathers what a schema refers to, and what that refers to.
func (r *Registry) load(ctx context.Context, name string, schema *sr.Schema) (*document, error) {
	return r.gather(ctx, name, schema, map[version]*document{}, 0)
}

func (r *Registry) gather(ctx context.Context, name string, schema *sr.Schema, seen map[version]*document, depth int) (*document, error) {
	if len(schema.Schema) > maxSchemaBytes {
		return nil, invalid("", "%s is longer than %d bytes", name, maxSchemaBytes)
	}
	if depth > maxReferenceDepth {
		return nil, invalid("", "%s is referred to through more than %d others", name, maxReferenceDepth)
	}
	doc := &document{name: name, kind: schema.Type, text: schema.Schema}
	for _, each := range schema.References {
		at := version{each.Subject, each.Version}
		to, ok := seen[at]
		if !ok {
			if len(seen) >= maxReferences {
				return nil, invalid("", "%s refers to more than %d others", name, maxReferences)
			}
			seen[at] = nil // a circle ends here
			found, err := r.version(ctx, at)
			if err != nil {
				return nil, err
			}
			if to, err = r.gather(ctx, at.String(), &found.Schema, seen, depth+1); err != nil {
				return nil, err
			}
			seen[at] = to
		}
		if to == nil {
			return nil, invalid("", "%s and %s refer to each other", name, at)
		}
		doc.references = append(doc.references, reference{each.Name, to})
	}
	return doc, nil
}

// register returns the id of a schema under a subject, which may have it already.
func (r *Registry) register(ctx context.Context, subject string, kind sr.SchemaType, text string) (int, error) {
	id := 0
	err := r.ask(ctx, func(ctx context.Context) (err error) {
		id, err = r.client.RegisterSchema(ctx, subject, sr.Schema{Schema: text, Type: kind}, -1, -1)
		return err
	})
	if answer, ok := errors.AsType[*sr.ResponseError](err); ok {
		switch answer.StatusCode {
		case http.StatusConflict:
			return 0, &schemas.Error{
				Op: "kafka", Code: "schema_incompatible", HTTPStatus: answer.StatusCode,
				Mend: fmt.Sprintf("write to another topic or subject, or loosen the subject's compatibility: "+
					`curl -X PUT -H 'Content-Type: application/json' -d '{"compatibility": "NONE"}' %s/config/%s`, r.shown, url.PathEscape(subject)),
				Err: fmt.Errorf("the registry refuses the columns' schema as the next version of %s: %s", subject, shortenMessage(answer)),
			}
		case http.StatusUnprocessableEntity:
			return 0, &schemas.Error{
				Op: "kafka", Code: "schema_refused", HTTPStatus: answer.StatusCode,
				Err: fmt.Errorf("the registry takes the columns' schema for %s for invalid: %s", subject, shortenMessage(answer)),
			}
		}
	}
	if err != nil {
		return 0, r.classify("register the schema of "+subject, err)
	}
	return id, nil
}

func shortenMessage(answer *sr.ResponseError) string {
	const shown = 500
	message := answer.Message
	if runes := []rune(message); len(runes) > shown {
		message = string(runes[:shown]) + "..."
	}
	return message
}

// position says which versions of subjects have an id, for a message: what fails here is left out.
func (r *Registry) position(ctx context.Context, id int) string {
	name, err := r.positions.get(ctx, id, func(ctx context.Context) (string, time.Duration, error) {
		uses, err := r.client.SchemaVersionsByID(ctx, id)
		if err != nil {
			return "", 0, err
		}
		names := make([]string, 0, len(uses))
		for _, use := range uses {
			names = append(names, version{use.Subject, use.Version}.String())
		}
		return strings.Join(names, ", "), forever, nil
	})
	if err != nil || name == "" {
		return "schema " + strconv.Itoa(id)
	}
	return fmt.Sprintf("schema %d (%s)", id, name)
}

// ask tries again, briefly, where that may help.
func (r *Registry) ask(ctx context.Context, question func(context.Context) error) error {
	backoff := firstBackoff
	for attempt := 1; ; attempt++ {
		err := question(ctx)
		if err == nil || attempt == attempts || !mayPass(err) || ctx.Err() != nil {
			return err
		}
		timer := time.NewTimer(backoff)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
		backoff *= 4
	}
}

// mayPass reports whether asking again may help: no answer, too many questions, a broken server.
func mayPass(err error) bool {
	answer, ok := errors.AsType[*sr.ResponseError](err)
	return !ok || answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode == http.StatusRequestTimeout || answer.StatusCode >= 500
}

func (r *Registry) classify(what string, err error) error {
	out := &schemas.Error{Op: "kafka: " + what + " at " + r.shown, Code: "schema_registry", Err: err}
	answer, ok := errors.AsType[*sr.ResponseError](err)
	if !ok {
		out.Class, out.Mend = schemas.Transient, "is the registry's URL right, and does it answer?"
		return out
	}
	out.HTTPStatus = answer.StatusCode
	out.Err = fmt.Errorf("HTTP %d: %s", answer.StatusCode, shortenMessage(answer))
	switch {
	case answer.StatusCode == http.StatusUnauthorized:
		out.Code, out.Mend = "unauthorized", "give the registry's username and password, or its token"
		out.Err = fmt.Errorf("%w: %w", schemas.ErrPermission, out.Err)
	case answer.StatusCode == http.StatusForbidden:
		out.Code, out.Mend = "forbidden", "give this user the registry's permission to read and write the subject"
		out.Err = fmt.Errorf("%w: %w", schemas.ErrPermission, out.Err)
	case answer.StatusCode == http.StatusNotFound:
		out.Mend = "is the registry's URL right?"
	case mayPass(err):
		out.Class = schemas.Transient
	}
	return out
}

// frame is Confluent's wire format: a zero, the schema's id in four bytes, then the payload.
const frameBytes = 5

func unframe(data []byte) (id int, payload []byte, err error) {
	if len(data) < frameBytes || data[0] != 0 {
		return 0, nil, errors.New("it does not begin with a schema's id, as records written with a schema registry do")
	}
	return int(binary.BigEndian.Uint32(data[1:])), data[frameBytes:], nil
}

func appendFrame(buf []byte, id int) []byte {
	return binary.BigEndian.AppendUint32(append(buf, 0), uint32(id)) //nolint:gosec // ids of the registry have 31 bits
}

// writers knows how the records of each writer's schema are read. It is safe for concurrent use.
type writers[T any] struct {
	registry *Registry
	kind     sr.SchemaType
	reader   string // for messages
	// resolve fails where the schema cannot be read as the reader's columns.
	resolve func(context.Context, *document) (T, error)
	known   memo[int, *writer[T]]
	last    atomic.Pointer[writer[T]] // most topics have one
}

type writer[T any] struct {
	id    int
	value T
	err   error // why its records are undecodable
}

func (w *writers[T]) find(ctx context.Context, id int) (T, error) {
	if last := w.last.Load(); last != nil && last.id == id {
		return last.value, last.err
	}
	each, err := w.known.get(ctx, id, func(ctx context.Context) (*writer[T], time.Duration, error) {
		out := &writer[T]{id: id}
		doc, err := w.registry.byID(ctx, id)
		switch {
		case errors.Is(err, schemas.ErrInvalid): // its references
			out.err = unclassified(err)
			return out, forever, nil
		case err != nil:
			return nil, 0, err
		case doc.missing:
			out.err = fmt.Errorf("the registry knows no schema %d", id)
			return out, keepUnknown, nil
		case doc.kind != w.kind:
			out.err = fmt.Errorf("%s is of %s, not %s", w.registry.position(ctx, id), doc.kind, w.kind)
			return out, forever, nil
		}
		if out.value, err = w.resolve(ctx, doc); err != nil {
			out.err = fmt.Errorf("%s cannot be read as %s: %w", w.registry.position(ctx, id), w.reader, err)
		}
		return out, forever, nil
	})
	if err != nil {
		var none T
		return none, err
	}
	if each.err == nil {
		w.last.Store(each)
	}
	return each.value, each.err
}

// unclassified is the text of an error alone: it is about the record now.
func unclassified(err error) error { return errors.New(err.Error()) }

// readerSchema is the schema that fixes the columns: the one given, or the subject's.
func readerSchema(ctx context.Context, o *Options, kind sr.SchemaType) (*document, error) {
	if o.Schema != "" {
		if len(o.Schema) > maxSchemaBytes {
			return nil, invalid("", "the schema of the %s is longer than %d bytes", o.what(), maxSchemaBytes)
		}
		return &document{name: "the given schema", kind: kind, text: o.Schema}, nil
	}
	doc, err := o.Registry.bySubject(ctx, o.subject(), o.Version)
	if err != nil {
		return nil, err
	}
	if doc.kind != kind {
		return nil, invalid("set the format to "+formatOf(doc.kind), "%s is of %s, not %s", doc.name, doc.kind, kind)
	}
	return doc, nil
}

func formatOf(kind sr.SchemaType) string {
	switch kind {
	case sr.TypeProtobuf:
		return string(Protobuf)
	case sr.TypeJSON:
		return string(JSONSchema)
	case sr.TypeAvro:
	}
	return string(Avro)
}
