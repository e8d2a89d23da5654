package schemas

import (
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"
)

// Task is what a request asks for, by the serving API's names.
type Task string

// The tasks. The zero value is TaskChat.
const (
	TaskChat        Task = "llm/v1/chat"
	TaskCompletions Task = "llm/v1/completions"
	TaskEmbeddings  Task = "llm/v1/embeddings"
	TaskPredictions Task = "mlflow/v1/invocations" // of a model that is no language model; the serving API has no name for it
)

// Request is one logical question. Retries and fallbacks ask the same Request again.
type Request struct {
	ID           string // request_id
	InvocationID string // of the attempt being made
	Task         Task
	Messages     []Message // of a chat, in order
	Prompt       string    // of a completion
	Inputs       []string  // of embeddings, one vector each
	Frame        *Frame    // of predictions, one for each row
	Tools        []Tool
	ToolChoice   ToolChoice
	Format       *Format // what a chat's answer must look like; nil: text
	// Parameters are the sampling parameters by the OpenAI chat completion names: temperature, max_tokens, ... Those of
	// predictions are the model's own.
	Parameters map[string]any
}

// Frame is what a model predicts from: rows of columns.
type Frame struct {
	Layout  Layout
	Columns []string          // their names; a single empty one: the model's input has no name
	Rows    []json.RawMessage // each an array of the columns' values
}

// Layout is how a frame is written, by MLflow's names. The zero value leaves it to the provider.
type Layout string

// The layouts.
const (
	LayoutSplit     Layout = "dataframe_split"
	LayoutRecords   Layout = "dataframe_records"
	LayoutInputs    Layout = "inputs"
	LayoutInstances Layout = "instances"
)

// Role says who speaks.
const (
	RoleSystem    = "system"
	RoleUser      = "user"
	RoleAssistant = "assistant"
	RoleTool      = "tool"
)

// Message is one turn of a chat.
type Message struct {
	Role    string
	Content string // the text; empty where there are Parts
	Parts   []Part // text and media in order; nil: the text alone
	// ToolCalls are what an assistant asked for, and ToolCallID says which of them a tool answers.
	ToolCalls  []ToolCall
	ToolCallID string
}

// Part is a piece of a message: a text, or media where Media is set.
type Part struct {
	Text  string
	Media *Media
}

// MediaKind is what a model does with media.
type MediaKind string

// The kinds of media.
const (
	MediaImage MediaKind = "image"
	MediaFile  MediaKind = "file" // a document, as a PDF
	MediaAudio MediaKind = "audio"
)

// Media is an image, a document or a sound: its bytes, or where the provider finds them.
type Media struct {
	Kind     MediaKind
	MIMEType string // image/png, application/pdf, audio/wav
	Name     string // of a file; may be empty
	Data     []byte // nil where URL is set
	URL      string
	Path     string // of a file on this machine, from which Data is read for the time of a call
}

// Tool is a function that the model may ask to be called.
type Tool struct {
	Name        string
	Description string
	Parameters  json.RawMessage // JSON Schema of its arguments; nil: none
	Strict      bool            // the arguments must keep to the schema
}

// ToolChoice says whether tools may be, or must be, called. The zero value leaves it to the provider.
type ToolChoice string

// The choices. Any other value is the name of the one tool that must be called.
const (
	ToolChoiceAuto     ToolChoice = "auto"
	ToolChoiceNone     ToolChoice = "none"
	ToolChoiceRequired ToolChoice = "required"
)

// ToolCall is a call that the model asks for.
type ToolCall struct {
	ID        string
	Name      string
	Arguments string // JSON, as the model wrote it
}

// Format is the JSON Schema that an answer must keep to. Strict says that providers' strict modes take it: every object
// requires all of its properties, and has no others.
type Format struct {
	Name   string
	Schema json.RawMessage
	Strict bool
}

// TextLength is the number of characters of all texts, the basis of a token estimate.
func (r *Request) TextLength() int {
	total := utf8.RuneCountInString(r.Prompt)
	for i := range r.Messages {
		message := &r.Messages[i]
		total += utf8.RuneCountInString(message.Content)
		for _, part := range message.Parts {
			total += utf8.RuneCountInString(part.Text)
		}
		for _, call := range message.ToolCalls {
			total += utf8.RuneCountInString(call.Arguments)
		}
	}
	for _, input := range r.Inputs {
		total += utf8.RuneCountInString(input)
	}
	return total
}

// EstimateTokens is Databricks' own estimate for a text of that many characters. It stands in only where a
// model reports no count, and for reservations.
func EstimateTokens(characters int) int64 { return int64(characters+1) / 4 }

// StopReason says why an answer ended.
type StopReason string

// The stop reasons, by OpenAI's names. The zero value: the provider did not say, or said what has no meaning here.
const (
	StopEnd           StopReason = "stop" // the model was done, or came to a stop sequence
	StopLength        StopReason = "length"
	StopToolCalls     StopReason = "tool_calls"
	StopContentFilter StopReason = "content_filter" // the provider held the answer back
	StopRefusal       StopReason = "refusal"        // the model would not answer
)

// Response is a model's answer to a Request.
type Response struct {
	Text       string
	Reasoning  string // what the model shows of its thoughts
	ToolCalls  []ToolCall
	Embeddings [][]float32 // in the order of the inputs
	// Predictions are JSON, in the order of the frame's rows.
	Predictions []json.RawMessage
	Stop        StopReason

	Model       string // as the provider names it
	ContentType string
	HTTPStatus  int
	FirstByte   time.Duration // from sending to the first byte of the answer
	Usage       Usage
}

// Event is a piece of an answer that arrives in a stream. Every field may be empty.
type Event struct {
	Text      string // follows what came before, as do the fields below
	Reasoning string
	ToolCalls []ToolCallPart
	Stop      StopReason
	Model     string
	Usage     *Usage // what has been counted so far; the last one stands
}

// ToolCallPart is a piece of a tool call.
type ToolCallPart struct {
	Index     int    // which of the answer's calls
	ID        string // ID and Name come with the first piece
	Name      string
	Arguments string
}

// Assembly puts the events of a stream together. The zero value is empty.
type Assembly struct {
	text, reasoning strings.Builder
	calls           []ToolCall
	arguments       []*strings.Builder
}

// maxToolCalls bounds what an event's index may make us allocate.
const maxToolCalls = 128

// Add takes in the next event. What is known at once stands in the response; Finish adds the rest.
func (a *Assembly) Add(event *Event, response *Response) {
	a.text.WriteString(event.Text)
	a.reasoning.WriteString(event.Reasoning)
	for i := range event.ToolCalls {
		part := &event.ToolCalls[i]
		if part.Index < 0 || part.Index >= maxToolCalls {
			continue
		}
		for len(a.calls) <= part.Index {
			a.calls = append(a.calls, ToolCall{})
			a.arguments = append(a.arguments, new(strings.Builder))
		}
		call := &a.calls[part.Index]
		if part.ID != "" {
			call.ID = part.ID
		}
		if part.Name != "" {
			call.Name = part.Name
		}
		_, _ = a.arguments[part.Index].WriteString(part.Arguments) // never fails
	}
	if event.Stop != "" {
		response.Stop = event.Stop
	}
	if event.Model != "" {
		response.Model = event.Model
	}
	if event.Usage != nil {
		response.Usage = *event.Usage
	}
}

// Finish puts what was gathered into the response.
func (a *Assembly) Finish(response *Response) {
	response.Text, response.Reasoning = a.text.String(), a.reasoning.String()
	for i := range a.calls {
		a.calls[i].Arguments = a.arguments[i].String()
	}
	response.ToolCalls = a.calls
}

// Usage is what a call consumed. InputTokens include cached tokens, and OutputTokens those of reasoning, whatever
// the provider's own convention. A pointer is nil where the provider does not report the number.
type Usage struct {
	InputTokens              int64
	OutputTokens             int64
	TotalTokens              int64
	CacheReadInputTokens     *int64 // read from the provider's cache
	CacheCreationInputTokens *int64 // written into it
	OutputReasoningTokens    *int64
	InputAudioTokens         *int64
	OutputAudioTokens        *int64
	ServiceTier              string // that served it, as the provider names it; empty: the standard one
	Basis                    BillableBasis
	Raw                      string // the provider's usage object, verbatim JSON; empty where it sent none
}

// BillableBasis says where an invocation's token counts come from.
type BillableBasis string

// The bases.
const (
	BasisProvider  BillableBasis = "provider_usage" // counted by the provider
	BasisEstimated BillableBasis = "estimated"      // sent, but not counted by the provider
	BasisNone      BillableBasis = "none"           // nothing to pay
)
