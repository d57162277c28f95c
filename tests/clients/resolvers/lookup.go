// Runs Go's own resolver. Each input line is "A NAME", "AAAA NAME", "both NAME" or "SRV NAME".
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

func main() {
	resolver := &net.Resolver{PreferGo: true}
	networks := map[string]string{"A": "ip4", "AAAA": "ip6", "both": "ip"}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		kind, name, _ := strings.Cut(lines.Text(), " ")
		var found []string
		var err error
		if kind == "SRV" {
			var records []*net.SRV
			_, records, err = resolver.LookupSRV(context.Background(), "", "", name)
			for _, each := range records {
				found = append(found, fmt.Sprintf("%s:%d", strings.TrimSuffix(each.Target, "."), each.Port))
			}
		} else {
			addresses, failure := resolver.LookupNetIP(context.Background(), networks[kind], name)
			err = failure
			for _, each := range addresses {
				found = append(found, each.Unmap().String())
			}
		}
		var denied *net.DNSError
		switch {
		case err == nil:
			fmt.Println(strings.Join(found, " "))
		case errors.As(err, &denied) && denied.IsNotFound:
			fmt.Println("none")
		default:
			fmt.Println("failed", err)
		}
	}
}
