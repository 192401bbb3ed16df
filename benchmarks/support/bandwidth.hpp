// The read bandwidth of the machine's memory, measured: what reading weights is compared with.
#ifndef BENCHMARKS_SUPPORT_BANDWIDTH_HPP_
#define BENCHMARKS_SUPPORT_BANDWIDTH_HPP_

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "inlay/core/executor.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/core/result.hpp"

namespace inlay_bench {

// Sums a range of memory; what matters is that all of it is loaded, at full width, with enough loads in flight.
inline std::uint64_t SumBytes(const std::byte* data, std::size_t bytes) {
  typedef std::uint64_t Wide __attribute__((vector_size(64)));
  constexpr std::size_t kStep = 4 * sizeof(Wide);
  Wide sums[4] = {};
  for (std::size_t i = 0; i + kStep <= bytes; i += kStep) {
    for (std::size_t k = 0; k < 4; ++k) {
      Wide loaded;
      std::memcpy(&loaded, data + i + k * sizeof(Wide), sizeof(Wide));
      sums[k] += loaded;
    }
  }
  const Wide total = sums[0] + sums[1] + sums[2] + sums[3];
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < sizeof(Wide) / sizeof(sum); ++i) sum += total[i];
  return sum;
}

struct Bandwidth {
  double bytes_per_second = 0;
  std::size_t buffer_bytes = 0;
};

// The best of a few passes of all threads over a buffer of four times the last cache, at least 256 MiB, at most a
// quarter of the free memory: where that is less than the cache, the number is that of the cache.
inline inlay::Result<Bandwidth> ReadBandwidth(inlay::ExecutorRef threads) {
  constexpr std::size_t kPieceBytes = std::size_t{4} << 20;
  std::size_t bytes = std::size_t{256} << 20;
#if defined(_SC_LEVEL3_CACHE_SIZE)
  if (const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE); cache > 0) bytes = std::max(bytes, 4 * static_cast<std::size_t>(cache));
#endif
#if defined(_SC_AVPHYS_PAGES)
  const long pages = sysconf(_SC_AVPHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  if (pages > 0 && page > 0) bytes = std::min(bytes, static_cast<std::size_t>(pages) * static_cast<std::size_t>(page) / 4);
#endif
  const std::size_t pieces = std::max<std::size_t>(1, bytes / kPieceBytes);
  Bandwidth bandwidth;
  bandwidth.buffer_bytes = pieces * kPieceBytes;
  INLAY_ASSIGN_OR_RETURN(inlay::OwnedBuffer buffer,
                         inlay::OwnedBuffer::Create(bandwidth.buffer_bytes, "bandwidth buffer"));
  std::byte* const data = buffer.bytes().data();
  threads.Run(pieces, [&](std::size_t i) { std::memset(data + i * kPieceBytes, static_cast<int>(i), kPieceBytes); });
  std::atomic<std::uint64_t> sum{0};
  for (int pass = 0; pass < 5; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    threads.Run(pieces, [&](std::size_t i) { sum += SumBytes(data + i * kPieceBytes, kPieceBytes); });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    bandwidth.bytes_per_second =
        std::max(bandwidth.bytes_per_second, static_cast<double>(bandwidth.buffer_bytes) / seconds.count());
  }
  return bandwidth;
}

}  // namespace inlay_bench

#endif  // BENCHMARKS_SUPPORT_BANDWIDTH_HPP_
