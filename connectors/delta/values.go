package delta

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/decimal128"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

const (
	dateLayout         = "2006-01-02"
	timestampLayout    = "2006-01-02T15:04:05.000000Z"
	timestampNTZLayout = "2006-01-02 15:04:05.000000"
)

// appendPartitionValue appends what a partition value stands for. An empty string is NULL, whatever the type.
func appendPartitionValue(builder array.Builder, text *string) error {
	if text == nil || *text == "" {
		builder.AppendNull()
		return nil
	}
	value := *text
	var err error
	switch typed := builder.(type) {
	case *array.StringBuilder:
		typed.Append(value)
	case *array.BinaryBuilder:
		typed.Append([]byte(value))
	case *array.BooleanBuilder:
		switch strings.ToLower(value) {
		case "true":
			typed.Append(true)
		case "false":
			typed.Append(false)
		default:
			err = strconv.ErrSyntax
		}
	case *array.Int64Builder:
		var number int64
		number, err = strconv.ParseInt(value, 10, 64)
		typed.Append(number)
	case *array.Int32Builder:
		var number int64
		number, err = strconv.ParseInt(value, 10, 32)
		typed.Append(int32(number))
	case *array.Int16Builder:
		var number int64
		number, err = strconv.ParseInt(value, 10, 16)
		typed.Append(int16(number))
	case *array.Int8Builder:
		var number int64
		number, err = strconv.ParseInt(value, 10, 8)
		typed.Append(int8(number))
	case *array.Float32Builder:
		var number float64
		number, err = strconv.ParseFloat(value, 32)
		typed.Append(float32(number))
	case *array.Float64Builder:
		var number float64
		number, err = strconv.ParseFloat(value, 64)
		typed.Append(number)
	case *array.Decimal128Builder:
		decimalType, _ := typed.Type().(*arrow.Decimal128Type)
		var number decimal128.Num
		number, err = parseDecimal(value, decimalType.Precision, decimalType.Scale)
		typed.Append(number)
	case *array.Date32Builder:
		var date time.Time
		date, err = time.Parse(dateLayout, value)
		typed.Append(arrow.Date32FromTime(date))
	case *array.TimestampBuilder:
		var at time.Time
		at, err = parseTimestamp(value)
		typed.Append(arrow.Timestamp(at.UnixMicro()))
	default:
		return fmt.Errorf("a column of type %s cannot partition a table", builder.Type())
	}
	if err != nil {
		return fmt.Errorf("the partition value %q is no %s", value, builder.Type())
	}
	return nil
}

// parseDecimal takes digits, a sign and a point. (decimal128.FromString accepts exponents, and panics on some.)
func parseDecimal(text string, precision, scale int32) (decimal128.Num, error) {
	whole, fraction, _ := strings.Cut(strings.TrimLeft(text, "+-"), ".")
	if len(text)-len(strings.TrimLeft(text, "+-")) > 1 || whole+fraction == "" || strings.Trim(whole+fraction, "0123456789") != "" ||
		len(fraction) > int(scale) || len(strings.TrimLeft(whole, "0")) > int(precision-scale) {
		return decimal128.Num{}, strconv.ErrSyntax
	}
	var number decimal128.Num
	ten := decimal128.FromI64(10)
	for _, digit := range whole + fraction + strings.Repeat("0", int(scale)-len(fraction)) {
		number = number.Mul(ten).Add(decimal128.FromI64(int64(digit - '0')))
	}
	if strings.HasPrefix(text, "-") {
		number = number.Negate()
	}
	return number, nil
}

// parseTimestamp takes both spellings of the protocol. Without a zone it is UTC: the zone of the system that wrote
// it is not recorded.
func parseTimestamp(text string) (time.Time, error) {
	for _, layout := range []string{"2006-01-02 15:04:05", time.RFC3339, "2006-01-02T15:04:05"} { // fractions are taken by all
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, strconv.ErrSyntax
}

// partitionValue is the inverse of appendPartitionValue for row i of column.
func partitionValue(column arrow.Array, i int) (*string, error) {
	if column.IsNull(i) {
		return nil, nil //nolint:nilnil // nil is NULL
	}
	var text string
	switch typed := column.(type) {
	case *array.String:
		text = strings.Clone(typed.Value(i))
	case *array.Boolean:
		text = strconv.FormatBool(typed.Value(i))
	case *array.Int64:
		text = strconv.FormatInt(typed.Value(i), 10)
	case *array.Int32:
		text = strconv.FormatInt(int64(typed.Value(i)), 10)
	case *array.Int16:
		text = strconv.FormatInt(int64(typed.Value(i)), 10)
	case *array.Int8:
		text = strconv.FormatInt(int64(typed.Value(i)), 10)
	case *array.Decimal128:
		decimalType, _ := typed.DataType().(*arrow.Decimal128Type)
		text = typed.Value(i).ToString(decimalType.Scale)
	case *array.Date32:
		text = typed.Value(i).ToTime().Format(dateLayout)
	case *array.Timestamp:
		timestampType, _ := typed.DataType().(*arrow.TimestampType)
		layout := timestampLayout
		if timestampType.TimeZone == "" {
			layout = timestampNTZLayout
		}
		text = typed.Value(i).ToTime(timestampType.Unit).Format(layout)
	default:
		return nil, fmt.Errorf("a column of type %s cannot partition a table here", column.DataType())
	}
	if text == "" {
		return nil, nil //nolint:nilnil // the protocol knows no empty partition value
	}
	return &text, nil
}

// constant returns an array of one partition value, rows times.
func constant(dataType arrow.DataType, value *string, rows int64) (arrow.Array, error) {
	builder := array.NewBuilder(memory.DefaultAllocator, dataType)
	defer builder.Release()
	builder.Reserve(int(rows))
	for range rows {
		if err := appendPartitionValue(builder, value); err != nil {
			return nil, err
		}
	}
	return builder.NewArray(), nil
}
