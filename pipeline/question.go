package pipeline

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"

	"github.com/inflowhq/inflow/pipeline/ledger"
	"github.com/inflowhq/inflow/schemas"
)

// row is the i-th selected row of a batch.
type row struct {
	batch *batch
	i     int
}

func (r row) offset() int64 { return r.batch.Place(r.batch.row(r.i)) }

// texts are a row's values in some columns.
func texts(at row, columns []int) []string {
	index := at.batch.row(at.i)
	out := make([]string, 0, len(columns))
	for _, column := range columns {
		out = append(out, strings.ToValidUTF8(schemas.Text(at.batch.Record.Column(column), index), "\uFFFD"))
	}
	return out
}

// item is a row and what it asks, until it has its answer.
type item struct {
	row

	key      ledger.Key
	rowKey   string
	messages []schemas.Message // of a chat
	text     string            // of a completion or an embedding; of a prediction, the JSON array of its features
	size     int64             // about as many tokens as it is long
	files    int64             // bytes of the files that it names
}

// locate says in an invocation which row it is for.
func (m *item) locate(invocation *schemas.Invocation) {
	invocation.SourcePartition, invocation.SourceOffset = m.batch.Partition, m.offset()
	invocation.SourceVersion, invocation.RowKey = m.batch.Version, m.rowKey
}

// question is one request on its way: of one row, or of as many as the model takes at once.
type question struct {
	request schemas.Request
	items   []*item
	place   int64  // of the first row, counting the rows of the run
	point   uint64 // where in the traffic split it starts
	input   int64  // tokens, by estimate
	files   int64  // bytes of the files that it names
	history []schemas.Attempt
	attempt int
	turn    *turn // nil: it stands in no line
}

// divisible reports whether a failure may be one row's of many: what the row is made of, what a model's code could not deal
// with, or more than an answer can hold.
func (q *question) divisible(err error) bool {
	failure, ok := errors.AsType[*schemas.Error](err)
	return ok && len(q.items) > 1 && (failure.Class == schemas.Rejected || failure.Class == schemas.Transient &&
		(failure.HTTPStatus == http500 || failure.Code == schemas.CodeResponseTooLarge || failure.Code == schemas.CodeAnswerCount))
}

// http500 is what a server says whose own code failed: 502 to 504 are about the way there.
const http500 = 500

// turn is a place in the line of what was started and has had no slot yet. It is of one goroutine.
type turn struct{ line *semaphore.Weighted }

// leave makes room for others to start.
func (t *turn) leave() {
	if t != nil && t.line != nil {
		t.line.Release(1)
		t.line = nil
	}
}

// compose makes the request of some rows, of which there is at least one.
func (a *asker) compose(items []*item) *question {
	asked := &a.options.Question
	first := items[0]
	q := &question{items: items, place: first.batch.place + int64(first.i), point: binary.BigEndian.Uint64(first.key[:8])}
	q.request.ID, q.request.Task, q.request.Parameters = newRequestID(), asked.Task, asked.Parameters
	for _, each := range items {
		q.files += each.files
		q.input += each.size
	}
	switch asked.Task {
	case schemas.TaskEmbeddings:
		q.request.Inputs = make([]string, 0, len(items))
		for _, each := range items {
			q.request.Inputs = append(q.request.Inputs, each.text)
		}
	case schemas.TaskPredictions:
		frame := &schemas.Frame{Layout: asked.Layout, Columns: asked.Features.Names(), Rows: make([]json.RawMessage, 0, len(items))}
		for _, each := range items {
			frame.Rows = append(frame.Rows, json.RawMessage(each.text))
		}
		q.request.Frame, q.input = frame, 0 // it has no tokens
	case schemas.TaskCompletions:
		q.request.Prompt = first.text
	case schemas.TaskChat, "":
		q.request.Messages, q.request.Format = first.messages, a.format
	}
	return q
}

// divide cuts rows into requests of no more tokens than one may have; a longer row goes alone.
func (a *asker) divide(items []*item) (calls [][]*item) {
	start, size := 0, int64(0)
	for i, each := range items {
		if limit := a.options.Question.BatchTokens; i > start && limit > 0 && size+each.size > limit {
			calls = append(calls, items[start:i])
			start, size = i, 0
		}
		size += each.size
	}
	if start < len(items) {
		calls = append(calls, items[start:])
	}
	return calls
}

// kept are the answers of a question's rows, under their keys. Each has its share of what the call consumed, by the
// lengths of the rows; together they have all of it.
func (a *asker) kept(q *question, out *sent) []ledger.Kept {
	kept := make([]ledger.Kept, len(q.items))
	var before, total int64
	for _, each := range q.items {
		total += each.size + 1 // an empty row is in the call as well
	}
	for i, each := range q.items {
		answer := &schemas.Answer{Invocation: *out.invocation}
		if len(q.items) > 1 {
			share(&answer.Invocation, before, before+each.size+1, total)
			each.locate(&answer.Invocation)
			answer.Invocation.IdempotencyKey = hex.EncodeToString(each.key[:])
		}
		before += each.size + 1
		if out.err != nil {
			answer.Error = withAnswer(out.invocation.Error, out.untyped)
		} else {
			a.fill(answer, out, i)
		}
		kept[i] = ledger.Kept{Key: each.key, Answer: answer}
	}
	return kept
}

// fill puts what came for the i-th row into its answer.
func (a *asker) fill(answer *schemas.Answer, out *sent, i int) {
	switch a.options.Question.Task {
	case schemas.TaskEmbeddings:
		answer.Vector = schemas.EncodeVector(out.response.Embeddings[i])
		if len(answer.Vector) == 0 {
			answer.Error = rowError(invalidAnswer(out.response, errNoVector), out.invocation.Attempt)
		}
	case schemas.TaskPredictions:
		text := string(out.response.Predictions[i])
		if kind := a.options.Question.Answer; kind != nil {
			if fault := kind.Check(text); fault != nil {
				answer.Error = withAnswer(rowError(invalidAnswer(out.response, fault), out.invocation.Attempt), text)
				return
			}
		}
		answer.Text = text
	case schemas.TaskChat, schemas.TaskCompletions, "":
		answer.Text = out.response.Text
	}
}

// share leaves of an invocation the part from one mark to another of a scale: parts that meet add up to the whole.
func share(invocation *schemas.Invocation, from, to, scale int64) {
	part := func(whole int64) int64 { return whole*to/scale - whole*from/scale }
	for _, count := range []*int64{&invocation.InputTokens, &invocation.OutputTokens, &invocation.TotalTokens} {
		*count = part(*count)
	}
	for _, count := range []**int64{
		&invocation.CacheReadInputTokens, &invocation.CacheCreationInputTokens, &invocation.OutputReasoningTokens,
	} {
		if *count != nil {
			mine := part(**count)
			*count = &mine
		}
	}
	if cost := invocation.CostUSD; cost != nil {
		mine := cost.Part(to, scale).Sub(cost.Part(from, scale))
		invocation.CostUSD = &mine
	}
	invocation.Attempts, invocation.ProviderUsage = nil, "" // the usage table has them with the whole
}

// render makes items of rows. A row that nothing can be asked about is finished.
func (a *asker) render(rows []row) []*item {
	items := make([]*item, 0, len(rows))
	for _, at := range rows {
		each, err := a.item(at)
		if err != nil {
			a.unasked(at, err)
			continue
		}
		items = append(items, each)
	}
	return items
}

// item renders a row. It fails where media that the row names cannot be read, or where it has nothing to ask.
func (a *asker) item(at row) (*item, error) {
	asked := &a.options.Question
	out := &item{row: at}
	keys := texts(at, asked.Key)
	if len(keys) == 1 {
		out.rowKey = keys[0]
	} else if len(keys) > 1 {
		out.rowKey = jsonList(keys)
	}
	h := sha256.New()
	h.Write(a.digest[:])
	switch {
	case asked.Reuse == ReuseRequest:
		part(h, a.options.Job)
	case asked.Reuse == ReuseRow && len(keys) > 0:
		part(h, a.options.Job, "key")
		part(h, keys...)
	default:
		part(h, a.options.Job, "place", a.options.SourceName, at.batch.Partition)
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(at.offset()))) //nolint:gosec // a hash
	}
	if err := a.content(out, h); err != nil {
		return nil, err
	}
	h.Sum(out.key[:0])
	return out, nil
}

// content renders what a row asks, and adds it to the row's hash.
func (a *asker) content(out *item, h hash.Hash) (err error) {
	asked := &a.options.Question
	record, index := out.batch.Record, out.batch.row(out.i)
	switch asked.Task {
	case schemas.TaskPredictions:
		features, err := asked.Features.Render(record, index)
		if err != nil {
			return &schemas.Error{Class: schemas.Rejected, Code: "unsupported_value", Err: err}
		}
		out.text = string(features)
	case schemas.TaskEmbeddings, schemas.TaskCompletions:
		if out.text = asked.Prompt.Render(record, index)[0].Content; out.text == "" {
			return &schemas.Error{Class: schemas.Rejected, Code: "empty_input", Err: errEmpty}
		}
	case schemas.TaskChat, "":
		out.messages = asked.Prompt.Render(record, index)
		chat := schemas.Request{Messages: out.messages}
		out.size = schemas.EstimateTokens(chat.TextLength())
		for i := range out.messages {
			part(h, out.messages[i].Role, out.messages[i].Content)
			if err := a.parts(out, h, out.messages[i].Parts); err != nil {
				return err
			}
		}
		return nil
	}
	out.size = schemas.EstimateTokens(utf8.RuneCountInString(out.text))
	part(h, out.text)
	return nil
}

var errNoVector = errors.New("the vector is empty")

var errEmpty = errors.New("request.input is empty for this row: there is nothing to ask")

// parts adds a message's parts to the hash of a question. A file counts by its path, size and time: it is read when
// there is a slot for its call, and not at all where the answer is known.
func (a *asker) parts(to *item, h hash.Hash, parts []schemas.Part) error {
	for _, each := range parts {
		part(h, each.Text)
		media := each.Media
		if media == nil {
			continue
		}
		part(h, string(media.Kind), media.MIMEType, media.URL, media.Path)
		if media.Path != "" {
			info, err := a.options.Question.Files.Stat(media.Path)
			if err != nil {
				return unreadable(err)
			}
			to.files += info.Size()
			part(h, strconv.FormatInt(info.Size(), 10), info.ModTime().UTC().Format(time.RFC3339Nano))
			continue
		}
		sum := sha256.Sum256(media.Data)
		h.Write(sum[:])
	}
	return nil
}

func jsonList(values []string) string {
	text, err := json.Marshal(values)
	if err != nil {
		return strings.Join(values, ",")
	}
	return string(text)
}

// part adds texts to a hash with their lengths, so that no two lists of texts are the same bytes.
func part(h hash.Hash, texts ...string) {
	var length [8]byte
	for _, text := range texts {
		binary.BigEndian.PutUint64(length[:], uint64(len(text)))
		h.Write(length[:])
		h.Write([]byte(text))
	}
}

// reuseKey is where the ledger keeps that a row was served by another row's answer.
func reuseKey(from string, mine *item) (key ledger.Key) {
	h := sha256.New()
	part(h, "reuse", from, string(mine.key[:]), mine.batch.Partition)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(mine.offset()))) //nolint:gosec // a hash
	h.Sum(key[:0])
	return key
}

// idempotencyKey is the row's own, or one of all rows.
func (q *question) idempotencyKey() string {
	if len(q.items) == 1 {
		return hex.EncodeToString(q.items[0].key[:])
	}
	h := sha256.New()
	for _, each := range q.items {
		h.Write(each.key[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

func newRequestID() string {
	id, err := uuid.NewV7()
	if err != nil { // no randomness: uuid's version 7 cannot fail otherwise
		panic(err)
	}
	return id.String()
}
