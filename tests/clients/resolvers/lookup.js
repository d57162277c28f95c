// Runs one of Node's resolvers: "lookup" is getaddrinfo of the libc, "resolve" is c-ares. An input line is "A NAME" or similar.
const dns = require("node:dns").promises;
const lines = require("node:readline").createInterface({ input: process.stdin });

const DENIED = new Set(["ENOTFOUND", "ENODATA"]);
const addresses = (found) => found.map((each) => each.address);
const targets = (found) => found.map((each) => `${each.name}:${each.port}`);
const ways = {
  lookup: {
    A: async (name) => addresses(await dns.lookup(name, { family: 4, all: true })),
    AAAA: async (name) => addresses(await dns.lookup(name, { family: 6, all: true })),
    both: async (name) => addresses(await dns.lookup(name, { family: 0, all: true })),
  },
  resolve: {
    A: (name) => dns.resolve4(name),
    AAAA: (name) => dns.resolve6(name),
    SRV: async (name) => targets(await dns.resolveSrv(name)),
  },
}[process.argv[2]];

(async () => {
  for await (const line of lines) {
    const [kind, name] = line.split(" ");
    try {
      console.log((await ways[kind](name)).join(" ") || "none"); // c-ares: [] for only a CNAME
    } catch (error) {
      console.log(DENIED.has(error.code) ? "none" : `failed ${error.code}`);
    }
  }
})();
