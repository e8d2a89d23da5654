package pipeline

import (
	"context"
	"fmt"

	"github.com/inflowhq/inflow/schemas"
)

// maxUntyped bounds what an error column keeps of an answer that has not the type asked for, in bytes.
const maxUntyped = 16 << 10

// put takes a question to an answer of the type asked for. One that has another type is asked again, once, with what
// is wrong with it: both calls are paid, and both are in the usage table.
func (a *asker) put(admit, ctx context.Context, q *question) sent {
	out := a.chain.retry(admit, ctx, q)
	fault := a.fault(&out)
	if fault == nil {
		return out
	}
	if err := a.chain.ledger.End(context.WithoutCancel(ctx), out.invocation); err != nil {
		return sent{err: err}
	}
	a.chain.stats.Retries.Add(1)
	q.request.Messages = append(q.request.Messages,
		schemas.Message{Role: schemas.RoleAssistant, Content: out.response.Text},
		schemas.Message{Role: schemas.RoleUser, Content: "Your answer does not keep to the JSON schema: " + fault.Error() +
			". Answer again, with the JSON alone."})
	q.input = schemas.EstimateTokens(q.request.TextLength())
	out = a.chain.retry(admit, ctx, q)
	if fault = a.fault(&out); fault != nil {
		out.err = invalidAnswer(out.response, fault)
		out.untyped = out.response.Text
		out.invocation.Error = rowError(out.err, out.invocation.Attempt)
	}
	return out
}

func invalidAnswer(response *schemas.Response, fault error) error {
	return &schemas.Error{
		Op: "answer", Class: schemas.Rejected, Code: "invalid_answer", HTTPStatus: response.HTTPStatus,
		Err: fmt.Errorf("the answer does not keep to response_format: %w", fault),
	}
}

// fault is what is wrong with the answer of a chat; nil where there is none, or no type is asked for.
func (a *asker) fault(out *sent) error {
	if answer := a.options.Question.Answer; answer != nil && out.err == nil && a.options.Question.Task != schemas.TaskPredictions {
		return answer.Check(out.response.Text)
	}
	return nil
}

// withAnswer puts the text of an untyped answer into the row's error: it was paid for, and may be of use to a person.
// The usage table does not get it.
func withAnswer(failure *schemas.RowError, untyped string) *schemas.RowError {
	if untyped == "" {
		return failure
	}
	kept := *failure
	kept.Message += "; it was: " + bounded(untyped, maxUntyped)
	return &kept
}
