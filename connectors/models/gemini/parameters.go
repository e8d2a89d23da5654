package gemini

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// Check tells every reason why such a request cannot be put, before anything is paid: it writes the request.
func (f *format) Check(request *schemas.Request) error {
	parameters, err := f.encode(request)
	w := writer{format: f, request: request, parameters: parameters, faults: []error{f.fault, err}}
	switch request.Task {
	case schemas.TaskEmbeddings:
		w.embeddings()
	case schemas.TaskChat, "":
		w.chat()
	case schemas.TaskCompletions, schemas.TaskPredictions:
		fallthrough
	default:
		w.fault("the gemini format has no task %s; ask for %s", request.Task, schemas.TaskChat)
	}
	return errors.Join(w.faults...)
}

// encodedParameters are the parameters by Google's names, ready to be put into a body.
type encodedParameters struct {
	of   map[string]any
	task schemas.Task

	generation string // the fields of generationConfig, or of Vertex AI's parameters of embeddings
	body       string // `,"safetySettings":[…]`, of the body itself
	each       string // `,"taskType":"…"`, of each text to embed
	formatted  bool   // they say what the answer must look like
}

// parameters returns the encoding of the parameters, from the last call where it is the same map.
func (f *format) parameters(request *schemas.Request) (*encodedParameters, error) {
	last := f.encoded.Load()
	if last != nil && last.task == request.Task && len(last.of) == len(request.Parameters) &&
		reflect.ValueOf(last.of).Pointer() == reflect.ValueOf(request.Parameters).Pointer() {
		return last, nil
	}
	encoded, err := f.encode(request)
	if err != nil {
		return nil, err
	}
	f.encoded.Store(encoded)
	return encoded, nil
}

// encode translates the parameters. The encoding is never nil: beside an error it has what could be translated.
func (f *format) encode(request *schemas.Request) (*encodedParameters, error) {
	t := translation{thinks: f.thinks, generation: map[string]any{}, body: map[string]any{}, each: map[string]any{}}
	known, refused := chatParameters(), refusal
	if request.Task == schemas.TaskEmbeddings {
		known, refused = embeddingParameters(f.vertex), refusalOfEmbeddings
	}
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(request.Parameters)) {
		value := request.Parameters[name]
		fault := func(reason string) {
			faults = append(faults, fmt.Errorf("%w: request.parameters.%s: %s", schemas.ErrInvalid, shorten(name), reason))
		}
		if reason := refused(name, f.vertex); reason != "" {
			fault(reason)
			continue
		}
		translate, ok := known[name]
		switch {
		case !ok:
			faults = append(faults, fmt.Errorf("%w: request.parameters.%s is no parameter of the gemini format; did you mean %s?",
				schemas.ErrInvalid, shorten(name), wire.Nearest(name, slices.Sorted(maps.Keys(known)))))
		case value != nil: // null is not set
			if err := translate(&t, value); err != nil {
				fault(err.Error())
			}
		}
	}
	_, formatted := t.generation["responseMimeType"]
	encoded := &encodedParameters{of: request.Parameters, task: request.Task, formatted: formatted}
	for _, section := range []struct {
		of    map[string]any
		into  *string
		comma string
	}{{t.generation, &encoded.generation, ""}, {t.body, &encoded.body, ","}, {t.each, &encoded.each, ","}} {
		if len(section.of) == 0 {
			continue
		}
		fields, err := wire.Marshal(section.of)
		if err != nil {
			faults = append(faults, fmt.Errorf("%w: request.parameters cannot be written as JSON: %w", schemas.ErrInvalid, err))
			continue
		}
		*section.into = section.comma + string(fields[1:len(fields)-1])
	}
	return encoded, errors.Join(faults...)
}

// translation is what the parameters become, by the place where they stand.
type translation struct {
	generation, body, each map[string]any
	thinks                 bool
}

// put sets a field; that two parameters mean the same is an error.
func put(section map[string]any, name string, value any) error {
	if _, ok := section[name]; ok {
		return fmt.Errorf("another parameter sets Gemini's %s already; remove one", name)
	}
	section[name] = value
	return nil
}

// translator puts a parameter, whose value is not nil, where it belongs. Its error is the reason why it cannot.
type translator func(t *translation, value any) error

// chatParameters are what may be set, by OpenAI's names and, where it has none, by Google's
// (ai.google.dev/api/generate-content, cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference).
func chatParameters() map[string]translator {
	return map[string]translator{
		"temperature":           number("temperature"),
		"top_p":                 number("topP"),
		"top_k":                 integer("topK", 1),
		"max_tokens":            integer("maxOutputTokens", 1),
		"max_completion_tokens": integer("maxOutputTokens", 1),
		"seed":                  integer("seed", math.MinInt32),
		"frequency_penalty":     number("frequencyPenalty"),
		"presence_penalty":      number("presencePenalty"),
		"stop":                  stop,
		"reasoning_effort":      reasoningEffort,
		"response_format":       responseFormat,
		"service_tier":          serviceTier,

		"thinkingConfig": thinkingConfig,
		"mediaResolution": func(t *translation, value any) error {
			return putText(t.generation, "mediaResolution", value)
		},
		"cachedContent": func(t *translation, value any) error { return putText(t.body, "cachedContent", value) },
		"safetySettings": func(t *translation, value any) error {
			list, ok := value.([]any)
			if !ok || slices.ContainsFunc(list, func(entry any) bool { _, ok := entry.(map[string]any); return !ok }) {
				return errors.New(`it must be a list like [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]`)
			}
			return put(t.body, "safetySettings", list)
		},
		"labels": func(t *translation, value any) error {
			labels, ok := value.(map[string]any)
			for _, label := range labels {
				_, text := label.(string)
				ok = ok && text
			}
			if !ok {
				return errors.New("it must be an object of strings")
			}
			return put(t.body, "labels", labels)
		},
	}
}

// embeddingParameters are those of ai.google.dev/api/embeddings and of
// cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api, which differ in form.
func embeddingParameters(vertex bool) map[string]translator {
	task := "taskType"
	if vertex {
		task = "task_type"
	}
	return map[string]translator{
		"dimensions": func(t *translation, value any) error {
			section := t.each
			if vertex {
				section = t.generation
			}
			return putInteger(section, "outputDimensionality", value, 1)
		},
		"taskType": func(t *translation, value any) error { return putText(t.each, task, value) },
		"title":    func(t *translation, value any) error { return putText(t.each, "title", value) },
		"autoTruncate": func(t *translation, value any) error {
			if _, ok := value.(bool); !ok {
				return errors.New("it must be true or false")
			}
			return put(t.generation, "autoTruncate", value)
		},
	}
}

func number(name string) translator {
	return func(t *translation, value any) error {
		if _, ok := wire.Number(value); !ok {
			return errors.New("it must be a number")
		}
		return put(t.generation, name, value)
	}
}

func integer(name string, least int64) translator {
	return func(t *translation, value any) error { return putInteger(t.generation, name, value, least) }
}

// putInteger takes an int32, as all of Google's are.
func putInteger(section map[string]any, name string, value any, least int64) error {
	got, ok := wire.Whole(value, least, math.MaxInt32)
	if !ok {
		return fmt.Errorf("it must be an integer from %d to %d", least, math.MaxInt32)
	}
	return put(section, name, got)
}

func putText(section map[string]any, name string, value any) error {
	text, ok := value.(string)
	if !ok || text == "" {
		return errors.New("it must be a string")
	}
	return put(section, name, text)
}

func stop(t *translation, value any) error {
	texts, ok := wire.Texts(value)
	if !ok {
		return errors.New("it must be a string or a list of strings")
	}
	return put(t.generation, "stopSequences", texts)
}

// reasoningEffort becomes what Google's own OpenAI endpoint makes of it (ai.google.dev/gemini-api/docs/openai).
func reasoningEffort(t *translation, value any) error {
	effort, _ := value.(string)
	levels := map[string]string{"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH"}
	if level, ok := levels[effort]; ok && t.thinks {
		return put(t.generation, "thinkingConfig", map[string]any{"thinkingLevel": level})
	}
	budgets := map[string]int{"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
	switch budget, ok := budgets[effort]; {
	case !ok:
		return errors.New("it must be none, minimal, low, medium or high")
	case t.thinks:
		return errors.New("this model cannot be kept from thinking; minimal is the least")
	default:
		return put(t.generation, "thinkingConfig", map[string]any{"thinkingBudget": budget})
	}
}

// thinkingConfig is Google's own, for the thoughts themselves and for budgets.
func thinkingConfig(t *translation, value any) error {
	config, ok := value.(map[string]any)
	if !ok {
		return errors.New(`it must be an object like {"thinkingBudget": 1024, "includeThoughts": true}`)
	}
	written := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(config)) {
		var err error
		switch name {
		case "thinkingBudget":
			err = putInteger(written, name, config[name], -1) // -1 leaves it to the model
		case "thinkingLevel":
			err = putText(written, name, config[name])
		case "includeThoughts":
			if _, ok := config[name].(bool); !ok {
				err = errors.New("it must be true or false")
			}
			written[name] = config[name]
		default:
			err = errors.New("there is no such field")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", shorten(name), err)
		}
	}
	return put(t.generation, "thinkingConfig", written)
}

// responseFormat takes OpenAI's three forms.
func responseFormat(t *translation, value any) error {
	const reason = `it must be {"type": "text"}, {"type": "json_object"} or {"type": "json_schema", "json_schema": {"schema": {…}}}`
	format, _ := value.(map[string]any)
	switch kind, _ := format["type"].(string); kind {
	case "text":
		return put(t.generation, "responseMimeType", "text/plain")
	case "json_object":
		return put(t.generation, "responseMimeType", "application/json")
	case "json_schema":
		described, _ := format["json_schema"].(map[string]any)
		schema, ok := described["schema"].(map[string]any)
		if !ok {
			return errors.New(reason)
		}
		t.generation["responseJsonSchema"] = schema
		return put(t.generation, "responseMimeType", "application/json")
	}
	return errors.New(reason)
}

// serviceTier is the Gemini API's; OpenAI's auto and default are what it calls standard.
func serviceTier(t *translation, value any) error {
	switch tier, _ := value.(string); tier {
	case "flex", "priority", "standard":
		return put(t.body, "serviceTier", tier)
	case "auto", "default":
		return put(t.body, "serviceTier", "standard")
	}
	return errors.New("it must be auto, default, standard, flex or priority")
}

// refusal says why a parameter that exists cannot be set; empty where it can.
func refusal(name string, vertex bool) string {
	switch name {
	case "contents", "systemInstruction":
		return "the job's request says what is asked; remove it"
	case "candidateCount":
		return "a row has one answer, and every further candidate is paid; remove it"
	case "toolConfig", "web_search_options":
		return "a row's answer is text, and nobody would run the tool; remove it, or ask for a response_format"
	case "parallel_tool_calls":
		return "Gemini decides by itself how many tools it calls at once; remove it"
	case "responseModalities", "speechConfig", "imageConfig":
		return "a row's answer is text; remove it"
	case "logprobs", "top_logprobs", "responseLogprobs":
		return "an answer has no place for log probabilities; remove it"
	case "user", "safety_identifier", "logit_bias", "prediction", "prompt_cache_key", "prompt_cache_retention", "store", "verbosity":
		return "Gemini has no such parameter; remove it"
	case "metadata":
		if vertex {
			return "Vertex AI calls it labels; write labels"
		}
		return "Gemini has no such parameter; remove it"
	case "labels":
		if !vertex {
			return "the Gemini API has no labels, only Vertex AI; remove it"
		}
	case "service_tier":
		if vertex {
			return "Vertex AI has no such parameter; remove it"
		}
	}
	if reason := wire.Reserved(name); reason != "" {
		return reason
	}
	return ofGoogle(name)
}

// ofGoogle names the OpenAI parameter for a name of Google's, so that a job has one way to say it.
func ofGoogle(name string) string {
	for google, name2 := range map[string]string{
		"topP": "top_p", "topK": "top_k", "maxOutputTokens": "max_tokens", "stopSequences": "stop",
		"presencePenalty": "presence_penalty", "frequencyPenalty": "frequency_penalty", "generationConfig": "temperature, max_tokens, …",
		"responseMimeType": "response_format", "responseSchema": "response_format", "responseJsonSchema": "response_format",
		"serviceTier": "service_tier",
	} {
		if name == google {
			return "write " + name2
		}
	}
	return ""
}

func refusalOfEmbeddings(name string, vertex bool) string {
	switch name {
	case "content", "contents", "instances", "requests":
		return "the job's request says what is asked; remove it"
	case "outputDimensionality":
		return "write dimensions"
	case "task_type":
		return "write taskType"
	case "user":
		return "Gemini has no such parameter; remove it"
	case "autoTruncate":
		if !vertex {
			return "the Gemini API has no such parameter, only Vertex AI; remove it"
		}
	}
	return wire.Reserved(name)
}

const longestName = 64 // of a parameter; an absurd one must not cost a quadratic table, nor fill an error

func shorten(name string) string {
	if len(name) <= longestName {
		return name
	}
	return strings.ToValidUTF8(name[:longestName], "") + "…"
}
