package delta

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/scalar"

	"github.com/inflowhq/inflow/connectors/store/parquet"
)

const (
	// maxStatisticRunes is where the bounds of text are cut.
	maxStatisticRunes = 32
	// defaultIndexedColumns is how many leaf columns have statistics where the table does not say.
	defaultIndexedColumns = 32
)

// statsRules say which columns may appear in an add's statistics.
type statsRules struct {
	schema  *DataType // of the data file: without partition columns
	silent  func(column string) bool
	columns []string // delta.dataSkippingStatsColumns; nil: the first ones
	indexed int      // delta.dataSkippingNumIndexedCols; negative: all
}

func newStatsRules(schema *DataType, configuration map[string]string, silent func(string) bool) statsRules {
	rules := statsRules{schema: schema, silent: silent, indexed: defaultIndexedColumns}
	if text, ok := configuration["delta.dataSkippingNumIndexedCols"]; ok {
		if count, err := strconv.Atoi(text); err == nil {
			rules.indexed = count
		}
	}
	if text := configuration["delta.dataSkippingStatsColumns"]; text != "" {
		for name := range strings.SplitSeq(text, ",") {
			rules.columns = append(rules.columns, strings.Trim(strings.TrimSpace(name), "`"))
		}
	}
	return rules
}

type fileStats struct {
	NumRecords int64          `json:"numRecords"`
	MinValues  map[string]any `json:"minValues"`
	MaxValues  map[string]any `json:"maxValues"`
	NullCount  map[string]any `json:"nullCount"`
}

// encode returns the stats of an add.
func (r statsRules) encode(written parquet.Statistics) (string, error) {
	out := fileStats{NumRecords: written.Rows}
	leaf := 0
	out.MinValues, out.MaxValues, out.NullCount = r.level(written.Columns, r.schema, "", false, &leaf)
	text, err := json.Marshal(out)
	if err != nil {
		return "", fmt.Errorf("delta: encode statistics: %w", err)
	}
	return string(text), nil
}

// level mirrors one struct of the schema. Lists and maps only count their NULLs, as readers expect.
func (r statsRules) level(written map[string]parquet.ColumnStatistics, schema *DataType, path string, silent bool, leaf *int) (least, greatest, nulls map[string]any) {
	least, greatest, nulls = map[string]any{}, map[string]any{}, map[string]any{}
	for i := range schema.Fields {
		field := &schema.Fields[i]
		name := path + field.Name
		quiet := silent || path == "" && r.silent != nil && r.silent(field.Name)
		if field.Type.Name == typeStruct {
			innerLeast, innerGreatest, innerNulls := r.level(written[field.Name].Fields, &field.Type, name+".", quiet, leaf)
			keep(least, field.Name, innerLeast)
			keep(greatest, field.Name, innerGreatest)
			keep(nulls, field.Name, innerNulls)
			continue
		}
		wanted := r.wants(name, *leaf)
		*leaf += field.Type.leaves()
		column, known := written[field.Name]
		if !wanted || !known {
			continue
		}
		nulls[field.Name] = column.NullCount
		if quiet {
			continue
		}
		if value, ok := statistic(column.Min, false); ok {
			least[field.Name] = value
		}
		if value, ok := statistic(column.Max, true); ok {
			greatest[field.Name] = value
		}
	}
	return least, greatest, nulls
}

func keep(into map[string]any, name string, inner map[string]any) {
	if len(inner) > 0 {
		into[name] = inner
	}
}

func (r statsRules) wants(name string, leaf int) bool {
	if r.columns == nil {
		return r.indexed < 0 || leaf < r.indexed
	}
	for _, column := range r.columns {
		if strings.EqualFold(name, column) || len(name) > len(column) && strings.EqualFold(name[:len(column)+1], column+".") {
			return true
		}
	}
	return false
}

// statistic returns a bound as JSON: at most the least value, at least the greatest.
func statistic(bound scalar.Scalar, upper bool) (any, bool) {
	if bound == nil || !bound.IsValid() {
		return nil, false
	}
	switch typed := bound.(type) {
	case *scalar.Int8:
		return typed.Value, true
	case *scalar.Int16:
		return typed.Value, true
	case *scalar.Int32:
		return typed.Value, true
	case *scalar.Int64:
		return typed.Value, true
	case *scalar.Float32:
		return finite(float64(typed.Value), 32)
	case *scalar.Float64:
		return finite(typed.Value, 64)
	case *scalar.Decimal128:
		decimalType, ok := typed.Type.(*arrow.Decimal128Type)
		if !ok {
			return nil, false
		}
		return json.Number(typed.Value.ToString(decimalType.Scale)), true
	case *scalar.Date32:
		date := typed.Value.ToTime()
		return date.Format(dateLayout), plainYear(date)
	case *scalar.Timestamp:
		return timestampStatistic(typed, upper)
	case *scalar.String:
		return cutText(string(typed.Data()), upper)
	}
	return nil, false
}

func finite(value float64, bits int) (any, bool) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return nil, false
	}
	return json.Number(strconv.FormatFloat(value, 'g', -1, bits)), true
}

func timestampStatistic(bound *scalar.Timestamp, upper bool) (any, bool) {
	timestampType, ok := bound.Type.(*arrow.TimestampType)
	if !ok {
		return nil, false
	}
	at := bound.Value.ToTime(timestampType.Unit)
	cut := time.UnixMilli(at.UnixMilli()).UTC()
	if upper && cut.Before(at) {
		cut = cut.Add(time.Millisecond)
	}
	layout := "2006-01-02T15:04:05.000Z"
	if timestampType.TimeZone == "" {
		layout = "2006-01-02T15:04:05.000"
	}
	return cut.Format(layout), plainYear(cut)
}

// plainYear reports whether four digits hold the year.
func plainYear(at time.Time) bool { return at.Year() >= 1 && at.Year() <= 9999 }

// cutText returns text or a bound for it of at most maxStatisticRunes characters. The greatest value is rounded up by raising
// the last character that can be raised, which keeps the order of UTF-8 bytes.
func cutText(text string, upper bool) (any, bool) {
	if !utf8.ValidString(text) {
		return nil, false
	}
	runes := []rune(text[:min(len(text), (maxStatisticRunes+1)*utf8.UTFMax)])
	if len(runes) <= maxStatisticRunes {
		return text, true
	}
	runes = runes[:maxStatisticRunes]
	if !upper {
		return string(runes), true
	}
	for i, char := range slices.Backward(runes) {
		if char == utf8.MaxRune {
			continue
		}
		runes[i]++
		if runes[i] == 0xD800 { // no character stands between the surrogates
			runes[i] = 0xE000
		}
		return string(runes[:i+1]), true
	}
	return nil, false
}
