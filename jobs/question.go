package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"go.yaml.in/yaml/v3"

	"github.com/inflowhq/inflow/catalog/document"
	"github.com/inflowhq/inflow/connectors/kafka"
	"github.com/inflowhq/inflow/pipeline"
	"github.com/inflowhq/inflow/pipeline/answers"
	"github.com/inflowhq/inflow/pipeline/filters"
	"github.com/inflowhq/inflow/pipeline/prompts"
	"github.com/inflowhq/inflow/schemas"
)

// Of requests that may have many rows, how many and how long they are where the job does not say. Every provider takes as
// many texts; a long body of features is no burden to a model that predicts.
const (
	embeddingRows, embeddingTokens   = 64, 100_000
	predictionRows, predictionTokens = 1000, 1_000_000
)

// pose finds out what is asked of the endpoint, as far as that does not depend on the source, and whether it takes it.
func (j *Job) pose() error {
	request := &j.File.Request
	j.question = pipeline.Question{
		Endpoint: j.Endpoint, Answer: request.Answer, Parameters: request.Parameters, Layout: request.Layout,
		BatchSize: request.BatchSize, BatchTokens: request.BatchTokens, BatchWait: request.BatchWait,
		Reuse: request.Reuse, Timeout: request.Timeout, Retries: j.File.OnError.Retries,
	}
	rows, tokens := 1, int64(0)
	var faults []Fault
	switch {
	case !request.Features.IsZero():
		j.question.Task, rows, tokens = schemas.TaskPredictions, predictionRows, predictionTokens
		faults = j.sign()
	case request.Input != "" && j.offers(schemas.TaskCompletions):
		j.question.Task = schemas.TaskCompletions
		for _, key := range []string{"batch_size", "batch_tokens"} {
			if j.File.has("request", key) {
				faults = append(faults, j.File.Fault("a completion has one row", "remove it", "request", key))
			}
		}
	case request.Input != "":
		j.question.Task, rows, tokens = schemas.TaskEmbeddings, embeddingRows, embeddingTokens
	default:
		j.question.Task = schemas.TaskChat
	}
	if request.BatchSize == 0 {
		j.question.BatchSize = rows
	}
	if request.BatchTokens == 0 {
		j.question.BatchTokens = tokens
	}
	return j.File.Join(append(faults, j.tasks()...)...)
}

// offers reports whether a destination is for a task.
func (j *Job) offers(task schemas.Task) bool {
	return slices.ContainsFunc(j.Endpoint.Destinations, func(to schemas.Destination) bool { return to.Task == string(task) })
}

// tasks reports the destinations that are for another task than the request is.
func (j *Job) tasks() (faults []Fault) {
	key, fitting := j.File.Request.Asks(), map[string]string{
		string(schemas.TaskChat): "messages", string(schemas.TaskCompletions): "input",
		string(schemas.TaskEmbeddings): "input", string(schemas.TaskPredictions): "features",
	}
	for i := range j.Endpoint.Destinations {
		to := &j.Endpoint.Destinations[i]
		if to.Task == string(j.question.Task) {
			continue
		}
		mend := "ask another endpoint"
		if fits := fitting[to.Task]; fits != "" && fits != key {
			mend = "ask it with `" + fits + "`"
		}
		faults = append(faults, j.File.Fault(fmt.Sprintf("`%s` is not what %s of the endpoint %s takes: its task is %s",
			key, to.Name, j.Endpoint.Name, to.Task), mend, "request", key))
	}
	return faults
}

// sign fits the features and the type of the answers to the model's signature, where one is known.
func (j *Job) sign() (faults []Fault) {
	asked := &j.File.Request.Features
	j.features = slices.Clone(asked.List)
	var known schemas.Signature
	for i := range j.Endpoint.Destinations {
		to := &j.Endpoint.Destinations[i]
		switch {
		case to.Signature == nil:
		case known.Inputs == nil && known.Output == "":
			known = *to.Signature
		case !slices.Equal(known.Inputs, to.Signature.Inputs) || known.Output != to.Signature.Output:
			faults = append(faults, j.File.Fault(fmt.Sprintf("the models behind the endpoint %s have different signatures: %s is not like the first",
				j.Endpoint.Name, to.Name), "ask each at an endpoint of its own", "request", "endpoint"))
		}
	}
	fault := func(what, mend string) { faults = append(faults, j.File.Fault(what, mend, "request", "features")) }
	unnamed := len(known.Inputs) == 1 && known.Inputs[0].Name == ""
	switch {
	case asked.All && known.Inputs == nil:
		fault("the signature of the model is not known", "list the columns")
	case asked.All && unnamed:
		fault("the model's input has no name", "list the columns")
	case asked.All:
		for _, input := range known.Inputs {
			j.features = append(j.features, prompts.Feature{Name: input.Name, Column: input.Name})
		}
	case unnamed && slices.ContainsFunc(asked.List, func(each prompts.Feature) bool { return each.Name != each.Column }):
		fault("the model's input has no name", "list the columns")
	case unnamed:
		for i := range j.features {
			j.features[i].Name = ""
		}
	case known.Inputs != nil:
		faults = append(faults, asked.fit(j.File, known.Inputs)...)
	}
	if known.Output != "" && j.question.Answer == nil {
		kind, problems := answers.ParseValue(&yaml.Node{Kind: yaml.ScalarNode, Value: known.Output})
		if len(problems) == 0 {
			j.question.Answer = kind
		}
	}
	return faults
}

// fit reports the inputs of a model that are not given, and what it has no input for.
func (f *FeatureList) fit(file *File, inputs []schemas.Feature) (faults []Fault) {
	names := make([]string, 0, len(inputs))
	for _, input := range inputs {
		names = append(names, input.Name)
		given := slices.ContainsFunc(f.List, func(each prompts.Feature) bool { return each.Name == input.Name })
		if !given && !input.Optional {
			faults = append(faults, file.Fault(fmt.Sprintf("the model needs the input `%s` (%s)", input.Name, input.Type),
				"add `"+input.Name+"`", "request", "features"))
		}
	}
	for i, each := range f.List {
		if !slices.Contains(names, each.Name) {
			faults = append(faults, file.Fault("the model has no input `"+each.Name+"`", document.DidYouMean(each.Name, names),
				"request", "features", f.step(file, i)))
		}
	}
	return faults
}

// step is where the i-th feature stands in the file.
func (f *FeatureList) step(file *File, i int) string {
	if item := strconv.Itoa(i); file.document == nil || i >= len(f.List) || file.has("request", "features", item) {
		return item
	}
	return f.List[i].Name
}

// example is a request of the job's shape, for a provider to say before the run whether it takes it.
func (j *Job) example() *schemas.Request {
	request := &j.File.Request
	out := &schemas.Request{Task: j.question.Task, Parameters: request.Parameters}
	switch j.question.Task {
	case schemas.TaskPredictions:
		out.Frame = &schemas.Frame{Layout: request.Layout}
		for i, each := range j.features {
			if i == 0 || each.Name != "" { // several columns of an input without a name are one
				out.Frame.Columns = append(out.Frame.Columns, each.Name)
			}
		}
	case schemas.TaskEmbeddings:
		out.Inputs = slices.Repeat([]string{"?"}, j.question.BatchSize)
	case schemas.TaskCompletions:
		out.Prompt = "?"
	case schemas.TaskChat:
		out.Messages = request.example()
		if answer := request.Answer; answer != nil {
			out.Format = answer.Format()
		}
	}
	return out
}

// openModels makes a model for every destination.
func (j *Job) openModels(ctx context.Context) error {
	err := j.models.open(ctx, &j.Endpoint, j.File.Limits.Concurrency)
	for _, model := range j.models.list {
		err = errors.Join(err, model.Check(j.example()))
		j.question.Models = append(j.question.Models, model)
	}
	return err
}

// bind ties the file's templates, features, keys and conditions to the source's columns.
func (j *Job) bind() error {
	request := &j.File.Request
	schema := j.source.Schema()
	var faults []Fault
	if request.Features.IsZero() {
		j.question.Prompt, faults = j.template(schema)
	} else {
		var problems []prompts.Problem
		j.question.Features, problems = prompts.Bind(j.features, schema)
		for _, problem := range problems {
			faults = append(faults, j.File.Fault(problem.Text, mendColumn(problem.Column, schema),
				"request", "features", request.Features.step(j.File, problem.Message)))
		}
	}
	filter, err := filters.Parse(j.File.Source.Where, schema)
	if err != nil {
		faults = append(faults, j.File.Fault(err.Error(), "the source has "+columnList(schema), "source", "where"))
	}
	for i, name := range request.Key {
		indices := schema.FieldIndices(name)
		if len(indices) == 0 {
			faults = append(faults, j.File.Fault(fmt.Sprintf("the source has no column `%s`", name), mendColumn(name, schema),
				"request", "key", strconv.Itoa(i)))
			continue
		}
		j.question.Key = append(j.question.Key, indices[0])
	}
	faults = append(faults, j.ordered(schema)...)
	j.question.Files, j.question.Filter = j.media, filter
	return j.File.Join(faults...)
}

// ordered finds out of which columns rows are asked one after another: the job's key, or that of Kafka's records.
func (j *Job) ordered(schema *arrow.Schema) []Fault {
	if j.question.EventTime = -1; !j.File.Request.OrderByKey {
		return nil
	}
	if at := schema.FieldIndices(kafka.ColumnTimestamp); len(at) > 0 {
		j.question.EventTime = at[0]
	}
	if j.question.OrderBy = j.question.Key; j.question.OrderBy == nil {
		at := schema.FieldIndices(kafka.ColumnKey)
		if len(at) == 0 {
			return []Fault{j.File.Fault("`source.columns` leaves `_key` out, which the order is by", "add it, or `request.key`", "request", "order_by_key")}
		}
		j.question.OrderBy = at
	}
	return nil
}

// template reads the messages, or the input as the only one.
func (j *Job) template(schema *arrow.Schema) (*prompts.Template, []Fault) {
	request := &j.File.Request
	messages := request.templates()
	if request.Input != "" {
		messages = []prompts.Message{{Content: request.Input}}
	}
	template, problems := prompts.Parse(messages, schema)
	var faults []Fault
	for _, problem := range problems {
		path := []string{"request", "messages", strconv.Itoa(problem.Message), "content"}
		if problem.Part >= 0 {
			path = append(path, strconv.Itoa(problem.Part))
		}
		if request.Input != "" {
			path = []string{"request", "input"}
		}
		faults = append(faults, j.File.Fault(problem.Text, mendColumn(problem.Column, schema), path...))
	}
	return template, faults
}

func mendColumn(name string, schema *arrow.Schema) string {
	return document.DidYouMean(name, columnNames(schema))
}

func columnNames(schema *arrow.Schema) []string {
	names := make([]string, 0, schema.NumFields())
	for _, field := range schema.Fields() {
		names = append(names, field.Name)
	}
	return names
}

func columnList(schema *arrow.Schema) string {
	return strings.Join(columnNames(schema), ", ")
}
