package serde

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow/decimal128"
)

const (
	maxPrecision  = 38
	secondsPerDay = 24 * 60 * 60
)

// fits reports whether value has at the most precision digits. The least Num is its own negative, which
// Num.FitsInPrecision takes for a small number.
func fits(value decimal128.Num, precision int32) bool {
	return (value.HighBits() != math.MinInt64 || value.LowBits() != 0) && value.FitsInPrecision(precision)
}

// decimalOfBytes reads a big-endian two's complement number.
func decimalOfBytes(data []byte, precision int32) (decimal128.Num, error) {
	sign := byte(0)
	if len(data) > 0 && data[0]&0x80 != 0 {
		sign = 0xff
	}
	for len(data) > 16 && data[0] == sign && (data[1]^sign)&0x80 == 0 {
		data = data[1:]
	}
	if len(data) > 16 {
		return decimal128.Num{}, errTooManyDigits(precision)
	}
	high, low := uint64(int64(int8(sign))), uint64(int64(int8(sign)))
	for _, b := range data {
		high, low = high<<8|low>>56, low<<8|uint64(b)
	}
	value := decimal128.New(int64(high), low)
	if !fits(value, precision) {
		return decimal128.Num{}, errTooManyDigits(precision)
	}
	return value, nil
}

func errTooManyDigits(precision int32) error {
	return fmt.Errorf("the number has more than the %d digits of its column", precision)
}

// bytesOfDecimal is the shortest big-endian two's complement form.
func bytesOfDecimal(buf []byte, value decimal128.Num) []byte {
	high, low := uint64(value.HighBits()), value.LowBits() //nolint:gosec // bits
	var all [16]byte
	for i := range 8 {
		all[7-i], all[15-i] = byte(high>>(8*i)), byte(low>>(8*i)) //nolint:gosec // a byte of it
	}
	sign := byte(value.HighBits() >> 63) //nolint:gosec // all zeros or all ones
	first := 0
	for first < 15 && all[first] == sign && (all[first+1]^sign)&0x80 == 0 {
		first++
	}
	return append(buf, all[first:]...)
}

// appendDecimal writes all digits of the scale: "-0.050".
func appendDecimal(buf []byte, value decimal128.Num, scale int32) []byte {
	whole := value.BigInt()
	if whole.Sign() < 0 {
		buf = append(buf, '-')
	}
	digits := whole.Abs(whole).Append(nil, 10)
	if missing := int(scale) + 1 - len(digits); missing > 0 {
		digits = append([]byte(strings.Repeat("0", missing)), digits...)
	}
	point := len(digits) - int(scale)
	buf = append(buf, digits[:point]...)
	if scale > 0 {
		buf = append(buf, '.')
		buf = append(buf, digits[point:]...)
	}
	return buf
}

// number is a literal of JSON, taken apart: its digits without zeros at either end, times ten to the exponent.
type number struct {
	negative bool
	digits   []byte // at the most maxPrecision+1, without the point
	exponent int
}

type notANumberError struct{}

func (notANumberError) Error() string { return "not a number" }

// parseNumber reads a literal that is one by JSON's grammar.
func parseNumber(literal []byte, scratch *[maxPrecision + 1]byte) (number, error) {
	const farAway = 1 << 20 // further than any column reaches
	var n number
	n.digits = scratch[:0]
	i := 0
	if i < len(literal) && literal[i] == '-' {
		n.negative = true
		i++
	}
	point, zeros := false, 0
	for ; i < len(literal); i++ {
		c := literal[i]
		if c == '.' {
			point = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		if point {
			n.exponent--
		}
		if c == '0' {
			zeros++
			continue
		}
		if len(n.digits) == 0 {
			zeros = 0
		}
		for ; zeros > 0; zeros-- {
			if len(n.digits) == cap(n.digits) {
				return number{}, errTooManyDigits(maxPrecision)
			}
			n.digits = append(n.digits, '0')
		}
		if len(n.digits) == cap(n.digits) {
			return number{}, errTooManyDigits(maxPrecision)
		}
		n.digits = append(n.digits, c)
	}
	n.exponent += zeros
	if i < len(literal) { // e or E
		i++
		minus, exponent := false, 0
		for ; i < len(literal); i++ {
			switch c := literal[i]; {
			case c == '-':
				minus = true
			case c == '+':
			case c >= '0' && c <= '9':
				exponent = min(farAway, 10*exponent+int(c-'0'))
			default:
				return number{}, notANumberError{}
			}
		}
		if minus {
			exponent = -exponent
		}
		n.exponent += exponent
	}
	return n, nil
}

// decimal is the exact number in units of the scale.
func (n *number) decimal(precision, scale int32) (decimal128.Num, error) {
	if len(n.digits) == 0 {
		return decimal128.Num{}, nil
	}
	shift := n.exponent + int(scale)
	if shift < 0 {
		return decimal128.Num{}, fmt.Errorf("the number has more than %d digits behind the point", scale)
	}
	if len(n.digits)+shift > int(precision) {
		return decimal128.Num{}, errTooManyDigits(precision)
	}
	var high, low uint64
	for i := range len(n.digits) + shift {
		digit := uint64(0)
		if i < len(n.digits) {
			digit = uint64(n.digits[i] - '0')
		}
		carry, product := bits.Mul64(low, 10)
		sum, over := bits.Add64(product, digit, 0)
		high, low = high*10+carry+over, sum
	}
	value := decimal128.New(int64(high), low)
	if n.negative {
		value = value.Negate()
	}
	return value, nil
}

// parseInteger reads a literal of JSON that is a whole number, also where it is written 1.0 or 1e3.
func parseInteger(literal []byte) (int64, error) {
	digits, negative := literal, false
	if len(digits) > 0 && digits[0] == '-' {
		digits, negative = digits[1:], true
	}
	if len(digits) == 0 {
		return 0, notANumberError{}
	}
	value := int64(0)
	for _, c := range digits {
		if c < '0' || c > '9' || len(digits) > 18 {
			return parseLongInteger(literal)
		}
		value = 10*value + int64(c-'0')
	}
	if negative {
		value = -value
	}
	return value, nil
}

func parseLongInteger(literal []byte) (int64, error) {
	var scratch [maxPrecision + 1]byte
	n, err := parseNumber(literal, &scratch)
	if err != nil {
		return 0, err
	}
	value, err := n.decimal(20, 0)
	if err != nil {
		return 0, err
	}
	if value.HighBits() != int64(value.LowBits())>>63 { //nolint:gosec // bits
		return 0, errors.New("the number has more than 64 bits")
	}
	return int64(value.LowBits()), nil //nolint:gosec // was checked
}

// The forms of ISO 8601 that times are written in.
const (
	zonedForm = time.RFC3339Nano
	localForm = "2006-01-02T15:04:05.999999999"
	dateForm  = time.DateOnly
)

// parseTime reads a time as microseconds since 1970. What has no zone is in UTC; local refuses a zone instead.
func parseTime(value []byte, local bool) (int64, error) {
	var form [len("2006-01-02T15:04:05.999999999-07:00")]byte
	if len(value) < len("2006-01-02T15:04:05") || len(value) > len(form) || value[10] != 'T' && value[10] != ' ' {
		return 0, errNotATime(local)
	}
	written := form[:copy(form[:], value)]
	written[10] = 'T' // SQL writes a space
	var at time.Time
	err := errNotATime(local)
	if !local {
		at, err = time.Parse(zonedForm, string(written))
	}
	if err != nil {
		at, err = time.Parse(localForm, string(written))
	}
	if err != nil {
		return 0, errNotATime(local)
	}
	return at.UnixMicro(), nil
}

func errNotATime(local bool) error {
	if local {
		return errors.New("not a time without a zone, as in 2026-11-25T10:00:00")
	}
	return errors.New("not a time, as in 2026-11-25T10:00:00Z")
}

func parseDate(value []byte) (int64, error) {
	at, err := time.Parse(dateForm, string(value))
	if err != nil {
		return 0, errors.New("not a date, as in 2026-11-25")
	}
	return floorDivide(at.Unix(), secondsPerDay), nil
}

type timeRangeError struct{}

func (timeRangeError) Error() string { return "the time is outside of the years 1 to 9999" }

// appendTime writes microseconds since 1970.
func appendTime(buf []byte, micros int64, form string) ([]byte, error) {
	at := time.UnixMicro(micros).UTC()
	if year := at.Year(); year < 1 || year > 9999 {
		return nil, timeRangeError{}
	}
	return at.AppendFormat(buf, form), nil
}

func floorDivide(value, by int64) int64 {
	quotient := value / by
	if value%by < 0 {
		quotient--
	}
	return quotient
}

// scaleTime turns a number of some unit into microseconds, or back.
func scaleTime(value, multiply, divide int64) (int64, error) {
	if divide > 1 {
		value = floorDivide(value, divide)
	}
	if multiply > 1 {
		if value > math.MaxInt64/multiply || value < math.MinInt64/multiply {
			return 0, errors.New("the time is out of range")
		}
		value *= multiply
	}
	return value, nil
}
