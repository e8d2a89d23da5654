package openai

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// Parameter is a field of the body that request.parameters may set.
type Parameter struct {
	Name string
	Kind Kind
}

// Kind is a type of a parameter's value. Null is of every kind.
type Kind string

// The kinds.
const (
	Number  Kind = "a number"
	Integer Kind = "a whole number"
	Bool    Kind = "true or false"
	Text    Kind = "a text"
	Object  Kind = "an object"
	List    Kind = "a list"
	Texts   Kind = "a text or a list of texts"
	Any     Kind = "any value"
)

// holds reports whether a value is of the kind.
func (k Kind) holds(value any) bool {
	v := reflect.ValueOf(value)
	switch k {
	case Any:
		return true
	case Number:
		return v.CanInt() || v.CanUint() || v.CanFloat() && !math.IsNaN(v.Float()) && !math.IsInf(v.Float(), 0)
	case Integer:
		const exact = 1 << 53 // beyond it, a float may stand for its neighbour
		return v.CanInt() || v.CanUint() || v.CanFloat() && math.Trunc(v.Float()) == v.Float() && math.Abs(v.Float()) <= exact
	case Bool:
		return v.Kind() == reflect.Bool
	case Text:
		return v.Kind() == reflect.String
	case Object:
		return v.Kind() == reflect.Map && v.Type().Key().Kind() == reflect.String
	case List:
		return v.Kind() == reflect.Slice
	case Texts:
		if v.Kind() == reflect.Slice {
			for i := range v.Len() {
				if element := v.Index(i); element.Kind() != reflect.String && !Text.holds(element.Interface()) {
					return false
				}
			}
			return true
		}
		return v.Kind() == reflect.String
	}
	return false
}

// parameters are the ones that the dialect has for a task.
func (d *Dialect) parameters(task schemas.Task) []Parameter {
	own := d.Parameters
	switch task {
	case schemas.TaskEmbeddings:
		own = d.EmbeddingParameters
	case schemas.TaskCompletions:
		own = d.CompletionParameters
	case schemas.TaskChat, schemas.TaskPredictions:
	}
	if own != nil {
		return own
	}
	return standard(task)
}

// extraBody is the parameter whose fields are merged into the body.
const extraBody = "extra_body"

func (d *Dialect) checkParameters(task schemas.Task, parameters map[string]any) error {
	var faults []error
	fault := func(name, why string) {
		faults = append(faults, fmt.Errorf("%w: request.parameters.%s: %s", schemas.ErrInvalid, shown(name), why))
	}
	known := d.parameters(task)
	written := map[string]string{} // what the body calls it, and what the job does
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		value := parameters[name]
		if reason := d.refusal(name); reason != "" {
			fault(name, reason)
			continue
		}
		if name == extraBody {
			if reason := d.checkExtraBody(known, value); reason != "" {
				fault(name, reason)
			}
			continue
		}
		i := slices.IndexFunc(known, func(p Parameter) bool { return p.Name == name })
		if i < 0 {
			faults = append(faults, d.unknown(task, known, name))
			continue
		}
		if value != nil && !known[i].Kind.holds(value) {
			fault(name, "it must be "+string(known[i].Kind))
		}
		as := d.renamed(name)
		if limit := "max_tokens"; as == "max_completion_tokens" && written[limit] != "" {
			as = limit // OpenAI refuses both together
		}
		if other := written[as]; other != "" {
			fault(name, other+" says the same; remove one of them")
		}
		if written[as] = name; as == "max_completion_tokens" {
			written["max_tokens"] = name
		}
	}
	return errors.Join(faults...)
}

func (d *Dialect) renamed(name string) string {
	if as := d.Rename[name]; as != "" {
		return as
	}
	return name
}

func namesOf(parameters []Parameter) []string {
	names := make([]string, 0, len(parameters))
	for _, each := range parameters {
		names = append(names, each.Name)
	}
	return names
}

// unknown says what to do about a parameter that the server has not got.
func (d *Dialect) unknown(task schemas.Task, known []Parameter, name string) error {
	if slices.ContainsFunc(standard(task), func(p Parameter) bool { return p.Name == name }) {
		return fmt.Errorf("%w: request.parameters.%s: %s has no such %s parameter; remove it", schemas.ErrInvalid, name, d.Name, what(task))
	}
	hint := ""
	if d.ExtraBody {
		hint = " What only the server knows goes under extra_body"
	}
	return fmt.Errorf("%w: request.parameters.%s is no %s parameter; did you mean %s?%s",
		schemas.ErrInvalid, shown(name), what(task), wire.Nearest(name, namesOf(known)), hint)
}

// refusal says why a parameter that exists cannot be set; empty where it can.
func (d *Dialect) refusal(name string) string {
	if reason := d.Refused[name]; reason != "" {
		return reason
	}
	return wire.Reserved(name)
}

// checkExtraBody: what Inflow writes must have one place only.
func (d *Dialect) checkExtraBody(known []Parameter, value any) string {
	if !d.ExtraBody {
		return "all parameters of " + d.Name + " are known; set them without it"
	}
	extra, ok := value.(map[string]any)
	if !ok && value != nil {
		return "it must be an object"
	}
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		written := slices.ContainsFunc(known, func(p Parameter) bool { return p.Name == name || d.renamed(p.Name) == name })
		switch {
		case written:
			return shown(name) + " is a parameter of its own; set request.parameters." + shown(name)
		case wire.Reserved(name) != "" || name == extraBody || name == "usage_context" || name == "client_request_id":
			return "the request writes " + shown(name) + " itself; remove it"
		}
	}
	return ""
}

func what(task schemas.Task) string {
	switch task {
	case schemas.TaskEmbeddings:
		return "embeddings"
	case schemas.TaskCompletions:
		return "completion"
	case schemas.TaskChat, schemas.TaskPredictions:
	}
	return "chat completion"
}

type encodedParameters struct {
	of   map[string]any
	task schemas.Task
	json []byte // `,"temperature":0`, ready to be put behind what is asked
}

// parameters returns the encoding of the parameters, from the last call where it is the same map.
func (f *format) parameters(request *schemas.Request) ([]byte, error) {
	parameters := request.Parameters
	if len(parameters) == 0 {
		return nil, nil
	}
	last := f.encoded.Load()
	if last != nil && last.task == request.Task && len(last.of) == len(parameters) &&
		reflect.ValueOf(last.of).Pointer() == reflect.ValueOf(parameters).Pointer() {
		return last.json, nil
	}
	if err := f.dialect.checkParameters(request.Task, parameters); err != nil {
		return nil, err
	}
	var body []byte
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		var err error
		if name == extraBody {
			extra, _ := parameters[name].(map[string]any) // null: nothing
			for _, name := range slices.Sorted(maps.Keys(extra)) {
				if body, err = appendField(body, name, extra[name]); err != nil {
					return nil, err
				}
			}
			continue
		}
		if body, err = appendField(body, f.dialect.renamed(name), parameters[name]); err != nil {
			return nil, err
		}
	}
	f.encoded.Store(&encodedParameters{of: parameters, task: request.Task, json: body})
	return body, nil
}

// appendField appends a field of the body after a comma.
func appendField(body []byte, name string, value any) ([]byte, error) {
	text, err := wire.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("%w: request.parameters.%s cannot be written as JSON: %w", schemas.ErrInvalid, shown(name), err)
	}
	body = append(wire.AppendString(append(body, ','), name), ':')
	return append(body, text...), nil
}
