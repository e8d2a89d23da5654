package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const (
	usageLimit = 8 << 10 // bytes of a usage object that are kept verbatim
	tokenLimit = 1 << 40 // no call has counted more; a count beyond is noise that would become a bill
)

// completion is what is read of a chat completion. Reading it takes one look at the text for its grammar and one
// for its fields: by reflection, this was a tenth of all that a row costs.
type completion struct {
	model        string
	choices      int
	finishReason string // of the first choice, as all that follow
	text         string
	given        bool // the content is a text, not null and not absent
	refusal      string
	toolCalls    bool
	usage        gjson.Result
	failure      gjson.Result // an error object, as gateways send beside a 200
}

// read takes in a body that is JSON; ok is false where a field has another type than it must.
func (c *completion) read(body []byte) (ok bool) {
	ok = true
	gjson.ParseBytes(body).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "model":
			c.model = plain(value, &ok)
		case "usage":
			c.usage = value
		case "error":
			c.failure = value
		case "choices":
			ok = ok && (value.IsArray() || value.Type == gjson.Null)
			value.ForEach(func(_, choice gjson.Result) bool {
				if c.choices++; c.choices == 1 {
					c.readChoice(choice, &ok)
				}
				return ok
			})
		}
		return ok
	})
	return ok
}

func (c *completion) readChoice(choice gjson.Result, ok *bool) {
	*ok = *ok && (choice.IsObject() || choice.Type == gjson.Null)
	choice.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "finish_reason":
			c.finishReason = plain(value, ok)
		case "message":
			*ok = *ok && (value.IsObject() || value.Type == gjson.Null)
			value.ForEach(func(key, value gjson.Result) bool {
				switch key.Str {
				case "content":
					c.readContent(value, ok)
				case "refusal":
					c.refusal = plain(value, ok)
				case "tool_calls":
					c.toolCalls = value.IsArray() && value.Get("0").Exists()
				}
				return *ok
			})
		}
		return *ok
	})
}

// readContent takes a string, or, from some servers, a list of parts of which the texts count.
func (c *completion) readContent(content gjson.Result, ok *bool) {
	if !content.IsArray() {
		c.text, c.given = plain(content, ok), content.Type == gjson.String
		return
	}
	var text strings.Builder
	content.ForEach(func(_, part gjson.Result) bool {
		if *ok = part.IsObject(); *ok && part.Get("type").Str == "text" {
			c.given = true
			text.WriteString(plain(part.Get("text"), ok))
		}
		return *ok
	})
	c.text = text.String()
}

// plain is the text of a string, and nothing of null; anything else is not ok. The text does not hold on to the
// body, and is UTF-8 whatever the server sent, for a column of texts takes nothing else.
func plain(value gjson.Result, ok *bool) string {
	switch value.Type { //nolint:exhaustive // the others are no text
	case gjson.String:
		return strings.Clone(strings.ToValidUTF8(value.Str, "\uFFFD"))
	case gjson.Null:
		return ""
	}
	*ok = false
	return ""
}

// decode reads a 2xx into the response. The usage is filled in beside an error too, for it was consumed;
// answer.PossiblyPaid is cleared where something else than a model answered.
//
// Errors never wrap what encoding/json says: it quotes the answer.
func decode(call *wire.Call, answer *wire.Answer, response *schemas.Response) error {
	body := bytes.TrimSpace(answer.Body)
	if len(body) == 0 {
		return call.Truncated(answer)
	}
	if body[0] != '{' { // a proxy's or a portal's page: no model has seen the prompt
		answer.PossiblyPaid = false
		return call.Malformed(answer, errors.New("the answer is not JSON; a proxy or another service may stand at this URL"))
	}
	if !json.Valid(body) { // and not gjson.Valid, which has no bound on nesting
		return call.Truncated(answer)
	}
	var got completion
	if !got.read(body) {
		return call.Malformed(answer, errors.New("the answer is JSON, but no chat completion"))
	}
	response.Usage = readUsage(got.usage)
	if got.model != "" {
		response.Model = got.model
	}
	if got.choices == 0 {
		if got.failure.Exists() && got.failure.Type != gjson.Null {
			return call.Refused(answer, wire.ParseProblem(body))
		}
		return call.Malformed(answer, errors.New("the answer holds no choices"))
	}
	response.Text = got.text
	switch {
	case got.refusal != "":
		return call.Rejected(answer, "refusal", errors.New("the model refused to answer"))
	case got.finishReason == "content_filter":
		return call.Rejected(answer, "content_filter", errors.New("the provider's content filter withheld the answer"))
	case got.finishReason == "length" && response.Text == "":
		return call.Rejected(answer, "length", errors.New("the token limit was reached before any text; raise max_tokens or max_completion_tokens"))
	case got.given:
		return nil
	case got.toolCalls:
		return call.Rejected(answer, "tool_calls", errors.New("the model called a tool instead of answering"))
	}
	return call.Malformed(answer, errors.New("the answer's first choice has no content"))
}

// readUsage takes the provider's counts, or BasisNone where they are absent or cannot be true.
func readUsage(raw gjson.Result) schemas.Usage {
	none := schemas.Usage{Basis: schemas.BasisNone}
	if !raw.IsObject() {
		return none
	}
	counted := schemas.Usage{Basis: schemas.BasisProvider}
	prompt, ok := (*int64)(nil), true
	set := func(into *int64, value *int64) {
		if value != nil {
			*into = *value
		}
	}
	raw.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "prompt_tokens":
			prompt = count(value, &ok)
		case "completion_tokens":
			set(&counted.OutputTokens, count(value, &ok))
		case "total_tokens":
			set(&counted.TotalTokens, count(value, &ok))
		case "prompt_tokens_details":
			counted.CacheReadInputTokens = count(value.Get("cached_tokens"), &ok)
		case "completion_tokens_details":
			counted.OutputReasoningTokens = count(value.Get("reasoning_tokens"), &ok)
		}
		return ok
	})
	if !ok || prompt == nil {
		return none
	}
	counted.InputTokens = *prompt
	if counted.TotalTokens == 0 {
		counted.TotalTokens = counted.InputTokens + counted.OutputTokens
	}
	if len(raw.Raw) <= usageLimit {
		counted.Raw = strings.ToValidUTF8(strings.Clone(raw.Raw), "\uFFFD")
	}
	return counted
}

// count is a number of tokens, nil where there is none; what no call can have counted is not ok.
func count(value gjson.Result, ok *bool) *int64 {
	if value.Type == gjson.Null { // absent as well
		return nil
	}
	tokens, err := strconv.ParseInt(value.Raw, 10, 64)
	if err != nil || tokens < 0 || tokens > tokenLimit {
		*ok = false
	}
	return &tokens
}
