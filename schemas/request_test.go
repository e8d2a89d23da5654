package schemas_test

import (
	"reflect"
	"testing"

	"github.com/inflowhq/inflow/schemas"
)

// TestAssembly: the pieces of several tool calls may come in turns.
func TestAssembly(t *testing.T) {
	t.Parallel()
	var whole schemas.Assembly
	var got schemas.Response
	for _, event := range []schemas.Event{
		{Text: "a", Model: "m"},
		{ToolCalls: []schemas.ToolCallPart{{Index: 0, ID: "1", Name: "f", Arguments: "{"}}},
		{ToolCalls: []schemas.ToolCallPart{{Index: 1, ID: "2", Name: "g", Arguments: "[1"}}},
		{ToolCalls: []schemas.ToolCallPart{{Index: 0, Arguments: "}"}, {Index: 1, Arguments: "]"}, {Index: 1 << 40}, {Index: -1}}},
		{Text: "b", Reasoning: "r", Stop: schemas.StopToolCalls, Usage: &schemas.Usage{InputTokens: 3}},
	} {
		whole.Add(&event, &got)
	}
	whole.Finish(&got)
	want := schemas.Response{
		Text: "ab", Reasoning: "r", Model: "m", Stop: schemas.StopToolCalls, Usage: schemas.Usage{InputTokens: 3},
		ToolCalls: []schemas.ToolCall{{ID: "1", Name: "f", Arguments: "{}"}, {ID: "2", Name: "g", Arguments: "[1]"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}
