package routing_test

import (
	"slices"
	"testing"

	"github.com/inflowhq/inflow/pipeline/routing"
	"github.com/inflowhq/inflow/schemas"
)

func TestSharesAndFallbacks(t *testing.T) {
	t.Parallel()
	endpoint := &schemas.Endpoint{Destinations: []schemas.Destination{
		{Name: "a", TrafficPercentage: 70}, {Name: "b", TrafficPercentage: 30}, {Name: "spare"},
	}}
	firsts := make([]int, 3)
	for point := range uint64(1000) {
		order := routing.Order(endpoint, point)
		if len(order) != 1 {
			t.Fatalf("without fallback: %v", order)
		}
		firsts[order[0]]++
	}
	if !slices.Equal(firsts, []int{700, 300, 0}) {
		t.Errorf("shares %v", firsts)
	}
	endpoint.Fallback = true
	if order := routing.Order(endpoint, 80); !slices.Equal(order, []int{1, 0, 2}) {
		t.Errorf("order %v", order)
	}
}
