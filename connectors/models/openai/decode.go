package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const (
	usageLimit = 8 << 10 // bytes of a usage object that are kept verbatim
	tokenLimit = 1 << 40 // no call has counted more; a count beyond is noise that would become a bill
)

// completion is what is read of a chat completion.
type completion struct {
	Model   string `json:"model"`
	Choices []struct {
		FinishReason string `json:"finish_reason"`
		Message      struct {
			Content   content         `json:"content"`
			Refusal   string          `json:"refusal"`
			ToolCalls json.RawMessage `json:"tool_calls"`
		} `json:"message"`
	} `json:"choices"`
	Usage json.RawMessage `json:"usage"`
	Error json.RawMessage `json:"error"`
}

// content is a message's text: a string, or, from some servers, a list of parts of which the texts count.
type content struct {
	text  string
	given bool // not null and not absent
}

// UnmarshalJSON reads a string, a list of parts or null.
func (c *content) UnmarshalJSON(data []byte) error {
	switch data[0] {
	case 'n':
		return nil
	case '"':
		c.given = true
		return json.Unmarshal(data, &c.text)
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if err := json.Unmarshal(data, &parts); err != nil {
		return err //nolint:wrapcheck // only its presence is looked at: its text may quote the answer
	}
	var text strings.Builder
	for i := range parts {
		if parts[i].Type == "text" {
			c.given = true
			text.WriteString(parts[i].Text)
		}
	}
	c.text = text.String()
	return nil
}

type usage struct {
	PromptTokens        *int64 `json:"prompt_tokens"`
	CompletionTokens    int64  `json:"completion_tokens"`
	TotalTokens         int64  `json:"total_tokens"`
	PromptTokensDetails *struct {
		CachedTokens *int64 `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
	CompletionTokensDetails *struct {
		ReasoningTokens *int64 `json:"reasoning_tokens"`
	} `json:"completion_tokens_details"`
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
	var got completion
	if err := json.Unmarshal(body, &got); err != nil {
		if !json.Valid(body) {
			return call.Truncated(answer)
		}
		return call.Malformed(answer, errors.New("the answer is JSON, but no chat completion"))
	}
	response.Usage = readUsage(got.Usage)
	if got.Model != "" {
		response.Model = got.Model
	}
	if len(got.Choices) == 0 {
		if len(got.Error) > 0 && !bytes.Equal(got.Error, []byte("null")) {
			return call.Refused(answer, wire.ParseProblem(body))
		}
		return call.Malformed(answer, errors.New("the answer holds no choices"))
	}

	choice := &got.Choices[0]
	message := &choice.Message
	response.Text = message.Content.text
	switch {
	case message.Refusal != "":
		return call.Rejected(answer, "refusal", errors.New("the model refused to answer"))
	case choice.FinishReason == "content_filter":
		return call.Rejected(answer, "content_filter", errors.New("the provider's content filter withheld the answer"))
	case choice.FinishReason == "length" && response.Text == "":
		return call.Rejected(answer, "length", errors.New("the token limit was reached before any text; raise max_tokens or max_completion_tokens"))
	case message.Content.given:
		return nil
	case len(message.ToolCalls) > 2 && message.ToolCalls[0] == '[':
		return call.Rejected(answer, "tool_calls", errors.New("the model called a tool instead of answering"))
	}
	return call.Malformed(answer, errors.New("the answer's first choice has no content"))
}

// readUsage takes the provider's counts, or BasisNone where they are absent or cannot be true.
func readUsage(raw json.RawMessage) schemas.Usage {
	var got usage
	none := schemas.Usage{Basis: schemas.BasisNone}
	if len(raw) == 0 || raw[0] != '{' || json.Unmarshal(raw, &got) != nil || got.PromptTokens == nil {
		return none
	}
	counted := schemas.Usage{
		InputTokens: *got.PromptTokens, OutputTokens: got.CompletionTokens, TotalTokens: got.TotalTokens,
		Basis: schemas.BasisProvider,
	}
	if got.PromptTokensDetails != nil {
		counted.CacheReadInputTokens = got.PromptTokensDetails.CachedTokens
	}
	if got.CompletionTokensDetails != nil {
		counted.OutputReasoningTokens = got.CompletionTokensDetails.ReasoningTokens
	}
	if counted.TotalTokens == 0 {
		counted.TotalTokens = counted.InputTokens + counted.OutputTokens
	}
	for _, count := range []*int64{
		&counted.InputTokens, &counted.OutputTokens, &counted.TotalTokens,
		counted.CacheReadInputTokens, counted.OutputReasoningTokens,
	} {
		if count != nil && (*count < 0 || *count > tokenLimit) {
			return none
		}
	}
	if len(raw) <= usageLimit {
		counted.Raw = string(raw)
	}
	return counted
}
