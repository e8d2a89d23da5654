// Package signatures reads what a model that predicts takes and gives: from the MLmodel file that MLflow logs with it, and
// from the OpenAPI document that Databricks has of a serving endpoint.
//
// It does no I/O. What no column of a table can hold leaves Output empty: a type is never guessed.
package signatures

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/schemas"
)

const (
	maxBytes = 4 << 20 // of a document
	// maxDepth and maxFields are what a job file's types are bounded by.
	maxDepth  = 16
	maxFields = 1000
)

func invalid(text string, details ...any) error {
	return fmt.Errorf("%w: "+text, append([]any{schemas.ErrInvalid}, details...)...)
}

// parse reads JSON. Package json looks at it first: it bounds how deep it is.
func parse(text, place string) (gjson.Result, error) {
	if !utf8.ValidString(text) || !json.Valid([]byte(text)) {
		return gjson.Result{}, invalid("%s is not JSON", place)
	}
	return gjson.Parse(text), nil
}

// kind is a type by MLflow's name, and as a column of a table; ddl is empty where no column can hold it.
type kind struct{ name, ddl string }

// field is a column or a property.
type field struct {
	name string
	kind
}

// array is the ARRAY of a type, so many times over.
func array(ddl string, times int) string {
	if ddl == "" || times > maxDepth {
		return ""
	}
	return strings.Repeat("ARRAY<", times) + ddl + strings.Repeat(">", times)
}

// structure is the STRUCT of fields; empty where one has no type, or a name that a table does not take.
func structure(fields []field) string {
	if len(fields) == 0 || len(fields) > maxFields {
		return ""
	}
	seen := make(map[string]bool, len(fields))
	var out strings.Builder
	for i, each := range fields {
		folded := strings.ToLower(each.name) // tables do not tell them apart
		if each.ddl == "" || each.name == "" || strings.ContainsAny(each.name, " ,;{}()\n\t=.`") || seen[folded] {
			return ""
		}
		seen[folded] = true
		before := ", "
		if i == 0 {
			before = "STRUCT<"
		}
		out.WriteString(before + quoted(each.name) + ": " + each.ddl)
	}
	return out.String() + ">"
}

// quoted puts a name in backticks where Spark wants them.
func quoted(name string) string {
	for i, r := range name {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return "`" + name + "`"
		}
	}
	return name
}

// column is a type that is small enough to be a column's.
func column(ddl string) string {
	depth, deepest := 0, 0
	for _, r := range ddl {
		switch r {
		case '<':
			depth++
			deepest = max(deepest, depth)
		case '>':
			depth--
		}
	}
	if deepest > maxDepth || strings.Count(ddl, ": ") > maxFields {
		return ""
	}
	return ddl
}

// cut is a name as it is shown.
func cut(name string) string {
	const shown = 64
	if utf8.RuneCountInString(name) > shown {
		return string([]rune(name)[:shown]) + "…"
	}
	return name
}
