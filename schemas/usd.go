package schemas

import (
	"encoding/binary"
	"errors"

	"github.com/apache/arrow/go/v17/arrow/decimal128"
)

// USDScale is the number of decimals of a cost: DECIMAL(38,18).
const USDScale = 18

// USD is an amount of money in units of 1e-18 dollars.
type USD decimal128.Num //nolint:recvcheck // decoding fills one in; everywhere else it is a value

// Add returns the sum.
func (u USD) Add(other USD) USD { return USD(decimal128.Num(u).Add(decimal128.Num(other))) }

// Cmp is negative, zero or positive as u is less than, equal to or greater than other.
func (u USD) Cmp(other USD) int { return decimal128.Num(u).Cmp(decimal128.Num(other)) }

// Sub returns the difference.
func (u USD) Sub(other USD) USD { return USD(decimal128.Num(u).Sub(decimal128.Num(other))) }

// Part returns numerator/denominator of the amount, cut off after its last decimal. The denominator is not 0.
func (u USD) Part(numerator, denominator int64) USD {
	out, _ := decimal128.Num(u).Mul(decimal128.FromI64(numerator)).Div(decimal128.FromI64(denominator))
	return USD(out)
}

// Num returns the value for an Arrow DECIMAL(38,18) column.
func (u USD) Num() decimal128.Num { return decimal128.Num(u) }

// Dollars rounds to a float for showing, never for adding up.
func (u USD) Dollars() float64 { return decimal128.Num(u).ToFloat64(USDScale) }

// String shows every decimal.
func (u USD) String() string { return decimal128.Num(u).ToString(USDScale) }

// MarshalText writes every decimal, for JSON.
func (u USD) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// MarshalBinary writes 16 bytes, big endian.
func (u USD) MarshalBinary() ([]byte, error) {
	num := decimal128.Num(u)
	out := binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(num.HighBits())) //nolint:gosec // the same bits, two's complement
	return binary.BigEndian.AppendUint64(out, num.LowBits()), nil
}

// UnmarshalBinary reads what MarshalBinary wrote.
func (u *USD) UnmarshalBinary(data []byte) error {
	if len(data) != 16 {
		return errors.New("an amount takes 16 bytes")
	}
	high := int64(binary.BigEndian.Uint64(data)) //nolint:gosec // the same bits, two's complement
	*u = USD(decimal128.New(high, binary.BigEndian.Uint64(data[8:])))
	return nil
}
