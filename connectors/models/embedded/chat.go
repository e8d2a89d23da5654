package embedded

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
)

// chatRequest is what is read of OpenAI's request. Sampling parameters are accepted and mean nothing here:
// the models have no chance in them.
type chatRequest struct {
	Model          string        `json:"model"`
	Messages       []chatMessage `json:"messages"`
	Stream         bool          `json:"stream"`
	N              *int          `json:"n"`
	ResponseFormat *struct {
		Type string `json:"type"`
	} `json:"response_format"`
}

// chatStream is an answer as events: a chunk with the text, one with the end, one with the usage.
type chatStream struct{ *chatAnswer }

// chunk is one event.
type chunk struct {
	ID      string        `json:"id"`
	Object  string        `json:"object"`
	Created int64         `json:"created"`
	Model   string        `json:"model"`
	Choices []chunkChoice `json:"choices"`
	Usage   *chatUsage    `json:"usage"`
}

type chunkChoice struct {
	Index        int               `json:"index"`
	Delta        map[string]string `json:"delta"`
	FinishReason *string           `json:"finish_reason"`
}

func (s chatStream) events() []any {
	event := func(usage *chatUsage, choices ...chunkChoice) any {
		return chunk{s.ID, "chat.completion.chunk", s.Created, s.Model, append([]chunkChoice{}, choices...), usage}
	}
	choice := s.Choices[0]
	return []any{
		event(nil, chunkChoice{Delta: map[string]string{"role": "assistant", "content": choice.Message.Content}}),
		event(nil, chunkChoice{Delta: map[string]string{}, FinishReason: &choice.FinishReason}),
		event(&s.Usage),
	}
}

type chatMessage struct {
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
}

type chatAnswer struct {
	ID      string       `json:"id"`
	Object  string       `json:"object"`
	Created int64        `json:"created"`
	Model   string       `json:"model"`
	Choices []chatChoice `json:"choices"`
	Usage   chatUsage    `json:"usage"`
}

type chatChoice struct {
	Index        int            `json:"index"`
	Message      chatAnswerText `json:"message"`
	Logprobs     *struct{}      `json:"logprobs"`
	FinishReason string         `json:"finish_reason"`
}

type chatAnswerText struct {
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"`
}

type chatUsage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
}

// chat answers with the label of the last user message, the only one that the model reads.
func (h *handler) chat(_ *http.Request, body []byte) (any, error) {
	var request chatRequest
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, invalid("the body is not the JSON of a chat completion request")
	}
	m, ok := h.models[request.Model]
	if !ok {
		return nil, unknownModel(request.Model)
	}
	text, err := request.text()
	if err != nil {
		return nil, err
	}
	label, _ := m.score(text)
	read := m.words(text)
	answer := &chatAnswer{
		ID: "chatcmpl-" + uuid.NewString(), Object: "chat.completion", Created: time.Now().Unix(), Model: request.Model,
		Choices: []chatChoice{{Message: chatAnswerText{Role: "assistant", Content: label}, FinishReason: "stop"}},
		Usage:   chatUsage{PromptTokens: read, CompletionTokens: 1, TotalTokens: read + 1},
	}
	if request.Stream {
		return chatStream{answer}, nil
	}
	return answer, nil
}

// text checks the request and returns the last user message.
func (r *chatRequest) text() (string, error) {
	switch {
	case r.N != nil && *r.N != 1:
		return "", invalid("this service gives one choice; leave n out")
	case r.ResponseFormat != nil && r.ResponseFormat.Type != "text":
		return "", invalid("this service answers with one word, not with JSON; leave response_format out")
	case len(r.Messages) == 0:
		return "", invalid("messages is empty")
	}
	text, found := "", false
	for i := range r.Messages {
		switch r.Messages[i].Role {
		case "user":
			var err error
			if text, err = messageText(r.Messages[i].Content); err != nil {
				return "", invalid("messages[%d].content is neither a string nor a list of text parts", i)
			}
			found = true
		case "system", "developer", "assistant":
		default:
			return "", invalid("messages[%d].role is none of system, developer, user and assistant", i)
		}
	}
	if !found {
		return "", invalid("messages holds no user message")
	}
	return text, nil
}

func messageText(raw json.RawMessage) (string, error) {
	if len(raw) > 0 && raw[0] == '[' {
		var parts []struct {
			Type string `json:"type"`
			Text string `json:"text"`
		}
		if err := json.Unmarshal(raw, &parts); err != nil {
			return "", err //nolint:wrapcheck // only its presence is looked at
		}
		texts := make([]string, len(parts))
		for i := range parts {
			if parts[i].Type != "text" {
				return "", invalid("a part is no text")
			}
			texts[i] = parts[i].Text
		}
		return strings.Join(texts, "\n"), nil
	}
	if len(raw) == 0 || raw[0] != '"' {
		return "", invalid("no string")
	}
	var text string
	err := json.Unmarshal(raw, &text)
	return text, err //nolint:wrapcheck // only its presence is looked at
}

// list answers /v1/models.
func (h *handler) list(w http.ResponseWriter, _ *http.Request) {
	type entry struct {
		ID      string `json:"id"`
		Object  string `json:"object"`
		Created int64  `json:"created"`
		OwnedBy string `json:"owned_by"`
	}
	write(w, http.StatusOK, map[string]any{"object": "list", "data": []entry{
		{modelSentiment, "model", h.started, "inflow"}, {modelLanguage, "model", h.started, "inflow"},
	}})
}

// openAIError writes a fault in OpenAI's shape.
func openAIError(w http.ResponseWriter, f *fault) {
	type problem struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    string  `json:"code"`
	}
	kind := "invalid_request_error"
	if f.status >= http.StatusInternalServerError {
		kind = "server_error"
	}
	write(w, f.status, map[string]problem{"error": {Message: f.message, Type: kind, Code: f.code}})
}
