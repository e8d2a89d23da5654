package jobs

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow/decimal128"
	"github.com/shopspring/decimal"

	"github.com/inflowhq/inflow/catalog/document"
	"github.com/inflowhq/inflow/pipeline/answers"
	"github.com/inflowhq/inflow/schemas"
)

// maxDuration bounds every duration of a job file: longer than a day is a mistake in the unit.
const maxDuration = 24 * time.Hour

// Load reads and parses a job file. It blocks on I/O.
func Load(path string) (*File, error) {
	data, err := document.Read(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// Parse decodes a job file strictly, fills in the defaults and checks all that can be checked without the
// catalog. name is the file's path: it stands in messages, and relative paths start from its folder. Every
// fault is reported at once, as one *Faults.
func Parse(name string, data []byte) (*File, error) {
	schema, err := document.Compile(schemaJSON)
	if err != nil {
		return nil, err
	}
	return parse(schema, name, data)
}

func parse(schema *document.Schema, name string, data []byte) (*File, error) {
	doc, err := document.Parse(name, data, schema)
	if err != nil {
		return nil, err
	}
	absolute, err := filepath.Abs(name)
	if err != nil {
		return nil, fmt.Errorf("finding the folder of %s: %w", name, err)
	}
	file := defaults()
	file.Path, file.document = name, doc
	if err := doc.Decode(file); err != nil {
		return nil, err
	}
	d := decoder{doc: doc, folder: filepath.Dir(absolute)}
	d.complete(file)
	d.validate(file)
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return file, nil
}

// decoder reads the values that YAML has no type for. Each adds its own faults and leaves the default.
type decoder struct {
	doc    *document.Document
	folder string // that relative paths start from, absolute
}

func (d decoder) complete(file *File) {
	file.State = d.path(file.State)
	file.Prices = d.path(file.Prices)
	file.Catalog.Local = d.path(file.Catalog.Local)
	file.Sink.Files = d.path(file.Sink.Files)
	for _, pattern := range d.doc.Texts("source", "files") {
		file.Source.Files = append(file.Source.Files, d.path(pattern))
	}
	file.Source.Delta = d.table("source", "delta")
	file.Sink.Delta = d.table("sink", "delta")
	file.Audit.Usage = d.table("audit", "usage")
	file.Request.Timeout = d.duration(file.Request.Timeout, "request", "timeout")
	d.kafka(file)
	if file.Source.Follow {
		file.Commit.Interval = 0
	}
	file.Commit.Interval = d.duration(file.Commit.Interval, "commit", "interval")
	file.Request.BatchWait = d.duration(0, "request", "batch_wait")
	file.OnError.DeadLetters = d.table("on_error", "dead_letters")
	file.OnError.FailAbove = d.share(file.OnError.FailAbove, "on_error", "fail_above")
	file.Limits.Budget = d.usd("limits", "budget_usd")
	if format := &file.Request.ResponseFormat; !format.IsZero() {
		var problems []answers.Problem
		parse := answers.Parse
		if !file.Request.Features.IsZero() {
			parse = answers.ParseValue
		}
		file.Request.Answer, problems = parse(format)
		for _, problem := range problems {
			d.doc.Add(problem.Text, problem.Mend, append([]string{"request", "response_format"}, problem.Path...)...)
		}
	}
}

// validate checks what a schema cannot say.
func (d decoder) validate(file *File) {
	if strings.Trim(file.Job, ".") == "" && file.Job != "" {
		d.doc.Add("the name `"+file.Job+"` has only dots", "use a name such as `triage_tickets`", "job")
	}
	if file.Source.Format != "" && (d.doc.Has("source", "delta") || file.Source.Kafka != nil) {
		d.doc.Add("`source.format` is for `files`; a Delta table knows its own", "remove it", "source", "format")
	}
	for i, pattern := range file.Source.Files {
		if _, err := filepath.Match(pattern, ""); err != nil {
			path := []string{"source", "files", strconv.Itoa(i)}
			if _, single := d.doc.Text("source", "files"); single {
				path = path[:2]
			}
			d.doc.Add("the path has a `[` that is never closed", "close it, or write `\\[` for the character", path...)
		}
	}
	for i, pattern := range file.Source.Files {
		if file.Sink.Files != "" && filepath.Dir(pattern) == file.Sink.Files {
			d.doc.Add("the source reads what the sink writes", "give the sink a folder of its own", "source", "files", strconv.Itoa(i))
		}
	}
	if text, ok := d.doc.Text("sink", "files"); ok && strings.Contains(text, "://") {
		d.doc.Add("`sink.files` is a folder of this machine, and no URL", "write its path", "sink", "files")
	}
	d.streaming(file)
	d.fitting(&file.Request)
	d.distinct(file)
}

// streaming refuses keys that the source has no use for.
func (d decoder) streaming(file *File) {
	source := &file.Source
	for _, each := range []struct {
		of   string
		fits bool
		path []string
	}{
		{"a Delta table or Kafka: files do not grow", source.Files == nil, []string{"source", "follow"}},
		{"a Delta table", !source.Delta.IsZero(), []string{"source", "change_feed"}},
		{"a Delta table or Kafka", source.Files == nil, []string{"source", "fail_on_data_loss"}},
		{"Kafka: a row of a table stays where it is, and the results have its error", source.Kafka != nil, []string{"on_error", "dead_letters"}},
	} {
		if d.doc.Has(each.path...) && !each.fits {
			d.doc.Add("`"+strings.Join(each.path, ".")+"` is for "+each.of, "remove it", each.path...)
		}
	}
	if request := &file.Request; request.OrderByKey {
		if request.BatchSize > 1 || request.Messages == nil {
			d.doc.Add("`request.order_by_key` is for requests of one row", "remove it", "request", "order_by_key")
		}
		if len(request.Key) == 0 && source.Kafka == nil {
			d.doc.Add("`request.order_by_key` needs to know what the key is", "add `request.key`", "request", "order_by_key")
		}
	}
}

// fitting refuses keys of a request that are for another kind of it.
func (d decoder) fitting(request *Request) {
	for _, each := range []struct {
		key, of string
		fits    bool
	}{
		{"response_format", "`messages` or `features`", request.Input == ""},
		{"layout", "`features`", !request.Features.IsZero()},
		{"batch_size", "`input` or `features`", request.Messages == nil},
		{"batch_tokens", "`input` or `features`", request.Messages == nil},
		{"batch_wait", "`input` or `features`", request.Messages == nil},
	} {
		if d.doc.Has("request", each.key) && !each.fits {
			d.doc.Add("`request."+each.key+"` is for a request of "+each.of, "remove it", "request", each.key)
		}
	}
}

// distinct refuses tables that would be written over one another, or read while they are written.
func (d decoder) distinct(file *File) {
	tables := []struct {
		ref  TableRef
		path []string
	}{
		{file.Source.Delta, []string{"source", "delta"}},
		{file.Sink.Delta, []string{"sink", "delta"}},
		{TableRef{Location: file.Sink.Files}, []string{"sink", "files"}},
		{file.Audit.Usage, []string{"audit", "usage"}},
		{file.OnError.DeadLetters, []string{"on_error", "dead_letters"}},
	}
	for i, table := range tables {
		for _, earlier := range tables[:i] {
			if !table.ref.IsZero() && table.ref == earlier.ref {
				d.doc.Add(fmt.Sprintf("`%s` is the same table as `%s`",
					strings.Join(table.path, "."), strings.Join(earlier.path, ".")), "name another", table.path...)
				break
			}
		}
	}
}

// path makes a path absolute.
func (d decoder) path(path string) string {
	if path == "" {
		return ""
	}
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(d.folder, path)
}

// table tells a name of the catalog from a path: a path has a slash or begins with a dot.
func (d decoder) table(path ...string) TableRef {
	text, ok := d.doc.Text(path...)
	if !ok || text == "" {
		return TableRef{}
	}
	if strings.Contains(text, "://") {
		location, err := url.Parse(text)
		if err != nil || location.Scheme != "file" || (location.Host != "" && location.Host != "localhost") || location.Path == "" {
			d.doc.Add("`"+strings.Join(path, ".")+"` is a URL that cannot be opened",
				"use a name of the catalog, a path, or `file:///absolute/path`", path...)
			return TableRef{}
		}
		return TableRef{Location: filepath.Clean(location.Path)}
	}
	if strings.Contains(text, "/") || strings.HasPrefix(text, ".") {
		return TableRef{Location: d.path(filepath.Clean(text))}
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 || slices.Contains(parts, "") {
		d.doc.Add(fmt.Sprintf("`%s` is %q, neither a table's full name nor a path", strings.Join(path, "."), text),
			"write `catalog.schema.table`, or `./"+text+"` for a folder", path...)
		return TableRef{}
	}
	return TableRef{Name: text}
}

func (d decoder) duration(otherwise time.Duration, path ...string) time.Duration {
	text, ok := d.doc.Text(path...)
	if !ok {
		return otherwise
	}
	value, err := time.ParseDuration(text)
	if err != nil || value > maxDuration {
		d.doc.Add("`"+strings.Join(path, ".")+"` is longer than 24h", "check the unit: ms, s, m or h", path...)
		return otherwise
	}
	if value < time.Millisecond {
		d.doc.Add("`"+strings.Join(path, ".")+"` is shorter than 1ms", "check the unit: ms, s, m or h", path...)
		return otherwise
	}
	return value
}

// share reads "5%" or 0.05.
func (d decoder) share(otherwise float64, path ...string) float64 {
	text, ok := d.doc.Text(path...)
	if !ok {
		return otherwise
	}
	number, percent := strings.CutSuffix(text, "%")
	value, err := strconv.ParseFloat(strings.ReplaceAll(number, "_", ""), 64)
	if err != nil {
		d.doc.Add("`"+strings.Join(path, ".")+"` is no decimal number", "write `5%` or `0.05`", path...)
		return otherwise
	}
	if percent {
		value /= 100
	}
	return value
}

// usd reads money by its digits, never through a float. The schema bounds the amount, and so the digits.
func (d decoder) usd(path ...string) schemas.USD {
	text, ok := d.doc.Text(path...)
	if !ok {
		return schemas.USD{}
	}
	const (
		maxDigits   = 64 // of the text; it bounds the arithmetic
		decimalBits = 127
	)
	amount, err := decimal.NewFromString(text)
	if err != nil || len(text) > maxDigits || !regexp.MustCompile(`^\+?[0-9]*\.?[0-9]*$`).MatchString(text) {
		d.doc.Add("`"+strings.Join(path, ".")+"` is no plain decimal number", "write it like `25` or `12.50`", path...)
		return schemas.USD{}
	}
	units := amount.Shift(schemas.USDScale)
	if !units.IsInteger() {
		d.doc.Add(fmt.Sprintf("`%s` has more than %d decimals", strings.Join(path, "."), schemas.USDScale), "round it", path...)
		return schemas.USD{}
	}
	if units.BigInt().BitLen() >= decimalBits {
		return schemas.USD{} // far above the schema's maximum, and reported as that
	}
	return schemas.USD(decimal128.FromBigInt(units.BigInt()))
}
