// Package client calls the machine API of the nodes of a cluster.
//
// # Model
//
// A [Client] has one connection to one of several endpoints. An endpoint is a node that takes calls; which node a call
// is for is said by metadata of the call ([WithNode]), and the endpoint forwards it. Without that the endpoint itself
// answers. Calls are made by the generated clients: [Client.Machine], [Client.State] and so on.
//
//	c, err := client.New(client.Options{Context: context})
//	…
//	defer c.Close()
//
//	for _, r := range client.Each(ctx, nodes, func(ctx context.Context, _ string) (*machinepb.Version, error) {
//		return client.Only(c.Machine().Version(ctx, &emptypb.Empty{}))
//	}) {
//		fmt.Println(r.Node, r.Value.GetVersion().GetTag(), r.Err)
//	}
//
// # Many nodes
//
// To ask many nodes is the client's work: [Each] makes one call for each of them, [EachMessage] merges their streams.
// Servers can do it as well ([WithNodes]), for some services and not for much longer; [Split] takes such a joined reply
// apart.
//
// # Endpoints
//
// The endpoints are tried in an order that is drawn at random when the client is made, so that many clients spread over
// them, and the first that answers is kept until its connection ends (gRPC's pick_first, whose next attempt starts
// without waiting for a slow one to give up). All calls of a client so take the same way, and a cluster with one
// endpoint down is as good as one with all up. A policy that spreads single calls (round_robin) would hold a connection
// to each for nothing, and a person who runs a command twice would see two different views.
//
// # Errors
//
// Errors have a gRPC status, that of the server if it answered. If it could not be reached, the error is a
// [*ConnectionError] with what is known of each endpoint and what to do about it. [Explain] is the text for people.
//
// # What it does not do
//
// Proxies (proxy-url), requests signed by a key (auth.siderov1) and auth.basic are refused by [New]. Environment
// variables about proxies are not read. No version of the client is sent: the contract has no header for it.
//
// The command line, provisioners and tests import it, and so may other people.
package client
