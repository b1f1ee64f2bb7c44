#include "request.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace emulator {

Request Request::open(const char* path) {
  const int descriptor = ::open(path, O_RDWR);
  struct stat status;
  if (descriptor < 0 || fstat(descriptor, &status) != 0) {
    std::perror(path);
    std::exit(2);
  }
  void* mapped = mmap(nullptr, status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (mapped == MAP_FAILED) {
    std::perror(path);
    std::exit(2);
  }
  auto* file = static_cast<char*>(mapped);
  auto* header = reinterpret_cast<RequestHeader*>(file);
  if (std::memcmp(header->magic, "metal-1", 8) != 0) {
    std::fprintf(stderr, "%s is no request to run a kernel\n", path);
    std::exit(2);
  }
  return {header, reinterpret_cast<BufferRecord*>(header + 1), file};
}

}  // namespace emulator
