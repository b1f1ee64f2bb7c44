// What is to be run, as the caller wrote it into a file: a header, a record for each buffer, the buffers' bytes.
// Outputs are written back into the same file.
#pragma once

#include <cstdint>
#include <vector>

namespace emulator {

struct RequestHeader {
  char magic[8];  // "metal-1\0"
  uint32_t grid[3], threadgroup[3];  // threads
  uint32_t order;                    // of the threads: 0 ascending, 1 descending, 2 shuffled
  uint32_t touches;                  // how many to record
  uint64_t seed;
  double seconds;  // time limit
  uint32_t buffers;
  uint32_t most_threads;
};

struct BufferRecord {
  enum Role : uint32_t { INPUT, OUTPUT, CONSTANT };
  uint64_t offset, bytes;
  uint32_t element_bytes;
  uint32_t role;
  uint32_t initialised;
  char name[68];
};

struct Request {
  RequestHeader* header;
  BufferRecord* buffers;
  char* file;  // mapped

  static Request open(const char* path);  // exits with a message if it cannot be read
};

}  // namespace emulator
