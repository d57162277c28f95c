import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.Scanner;

/** Runs Java's InetAddress, which calls getaddrinfo of the libc for both families. Each input line is "both NAME". */
class Lookup {
  public static void main(String[] arguments) {
    java.security.Security.setProperty("networkaddress.cache.ttl", "0");
    java.security.Security.setProperty("networkaddress.cache.negative.ttl", "0");
    for (Scanner lines = new Scanner(System.in); lines.hasNextLine(); ) {
      String name = lines.nextLine().split(" ")[1];
      StringBuilder found = new StringBuilder();
      try {
        for (InetAddress each : InetAddress.getAllByName(name)) found.append(each.getHostAddress()).append(' ');
      } catch (UnknownHostException error) {
        boolean temporary = error.getMessage().contains("Temporary failure");
        found.append(temporary ? "failed " + error.getMessage() : "none");
      }
      System.out.println(found);
    }
  }
}
