/* Calls getaddrinfo of the libc that it is compiled with. An input line is "A NAME", "AAAA NAME" or "both NAME". */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <arpa/inet.h>
#include <sys/socket.h>

int main(void) {
  char kind[8], name[300], text[INET6_ADDRSTRLEN];
  while (scanf("%7s %299s", kind, name) == 2) {
    struct addrinfo hints = {0}, *found = NULL;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_family = !strcmp(kind, "A") ? AF_INET : !strcmp(kind, "AAAA") ? AF_INET6 : AF_UNSPEC;
    int error = getaddrinfo(name, NULL, &hints, &found);
    if (error == EAI_NONAME || error == -5 /* EAI_NODATA of glibc */)
      printf("none");
    else if (error)
      printf("failed %s", gai_strerror(error));
    for (struct addrinfo *each = found; !error && each; each = each->ai_next) {
      void *address = each->ai_family == AF_INET ? (void *)&((struct sockaddr_in *)each->ai_addr)->sin_addr
                                                 : (void *)&((struct sockaddr_in6 *)each->ai_addr)->sin6_addr;
      printf("%s ", inet_ntop(each->ai_family, address, text, sizeof text));
    }
    if (!error)
      freeaddrinfo(found);
    printf("\n");
    fflush(stdout);
  }
  return 0;
}
