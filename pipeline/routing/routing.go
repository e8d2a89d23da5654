// Package routing decides which destination of an endpoint a request goes to, and which one after that.
package routing

import "github.com/inflowhq/inflow/schemas"

// Order returns the indices of the endpoint's destinations in the order in which a request should try them.
// The first is drawn by traffic share from point, a number that belongs to the request, so that a request
// always starts at the same one. The others follow only where the endpoint falls back, in catalog order;
// destinations without traffic are fallbacks too.
func Order(endpoint *schemas.Endpoint, point uint64) []int {
	first := draw(endpoint.Destinations, point)
	order := []int{first}
	if !endpoint.Fallback {
		return order
	}
	for i := range endpoint.Destinations {
		if i != first {
			order = append(order, i)
		}
	}
	return order
}

// Falls reports whether a failure moves a request on to the next destination: 429 and 5xx, and what never
// got a status.
func Falls(failure *schemas.Error) bool {
	return failure.HTTPStatus == 0 || failure.HTTPStatus == 429 || failure.HTTPStatus >= 500
}

func draw(destinations []schemas.Destination, point uint64) int {
	share := int(point % 100)
	for i := range destinations {
		if share < destinations[i].TrafficPercentage {
			return i
		}
		share -= destinations[i].TrafficPercentage
	}
	return 0
}
