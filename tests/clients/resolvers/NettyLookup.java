import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.nio.NioDatagramChannel;
import io.netty.resolver.ResolvedAddressTypes;
import io.netty.resolver.dns.DnsNameResolver;
import io.netty.resolver.dns.DnsNameResolverBuilder;
import io.netty.resolver.dns.NoopDnsCache;
import io.netty.resolver.dns.NoopDnsCnameCache;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.HashMap;
import java.util.Map;
import java.util.Scanner;
import java.util.concurrent.ExecutionException;

/** Runs Netty's resolver without a TCP channel. An input line is "A NAME", "AAAA NAME" or "both NAME". */
class NettyLookup {
  public static void main(String[] arguments) throws Exception {
    NioEventLoopGroup group = new NioEventLoopGroup(1);
    Map<String, DnsNameResolver> resolvers = new HashMap<>();
    resolvers.put("A", resolver(group, ResolvedAddressTypes.IPV4_ONLY));
    resolvers.put("AAAA", resolver(group, ResolvedAddressTypes.IPV6_ONLY));
    resolvers.put("both", resolver(group, ResolvedAddressTypes.IPV4_PREFERRED));
    for (Scanner lines = new Scanner(System.in); lines.hasNextLine(); ) {
      String[] asked = lines.nextLine().split(" ");
      StringBuilder found = new StringBuilder();
      try {
        for (InetAddress each : resolvers.get(asked[0]).resolveAll(asked[1]).get())
          found.append(each.getHostAddress()).append(' ');
      } catch (ExecutionException error) {
        // Netty throws the same exception for a name that doesn't exist and for servers that fail.
        if (!(error.getCause() instanceof UnknownHostException)) throw error;
        found.append("none");
      }
      System.out.println(found);
    }
    group.shutdownGracefully();
  }

  private static DnsNameResolver resolver(NioEventLoopGroup group, ResolvedAddressTypes types) {
    return new DnsNameResolverBuilder(group.next())
        .channelType(NioDatagramChannel.class)
        .resolvedAddressTypes(types)
        .resolveCache(NoopDnsCache.INSTANCE)
        .cnameCache(NoopDnsCnameCache.INSTANCE)
        .build();
  }
}
