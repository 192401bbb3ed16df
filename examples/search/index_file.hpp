// The index on disk: pieces of text with their embeddings. Small enough to be read whole; a file that is damaged is an error.
//
//   "INLAYIX1"  u32 dim  u32 entries  u64 bytes of all that follows
//   per entry: u64 offset in its file, string path, string text, f32 embedding[dim] of length 1      (string: u32 length, bytes)
// Little-endian.
#ifndef INLAY_EXAMPLES_SEARCH_INDEX_FILE_HPP_
#define INLAY_EXAMPLES_SEARCH_INDEX_FILE_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "inlay/core/finite.hpp"
#include "inlay/core/result.hpp"
#include "inlay/files/byte_reader.hpp"

namespace search {

struct Entry {
  std::string path;
  std::uint64_t offset = 0;  // of the text in the file
  std::string text;
  std::vector<float> embedding;
};

struct Index {
  std::size_t dim = 0;
  std::vector<Entry> entries;
};

inline constexpr std::string_view kIndexMagic = "INLAYIX1";
inline constexpr std::uint32_t kMostDimensions = 1 << 20;

inline std::vector<std::byte> WriteIndex(const Index& index) {
  std::vector<std::byte> out;
  const auto raw = [&](const void* data, std::size_t size) {
    const std::byte* const from = static_cast<const std::byte*>(data);
    out.insert(out.end(), from, from + size);
  };
  const auto number = [&](auto value) { raw(&value, sizeof(value)); };
  const auto text = [&](std::string_view value) {
    number(static_cast<std::uint32_t>(value.size()));
    raw(value.data(), value.size());
  };
  raw(kIndexMagic.data(), kIndexMagic.size());
  number(static_cast<std::uint32_t>(index.dim));
  number(static_cast<std::uint32_t>(index.entries.size()));
  const std::size_t size_at = out.size();
  number(std::uint64_t{0});
  for (const Entry& entry : index.entries) {
    number(entry.offset);
    text(entry.path);
    text(entry.text);
    raw(entry.embedding.data(), entry.embedding.size() * sizeof(float));
  }
  const std::uint64_t size = out.size() - size_at - sizeof(std::uint64_t);
  std::memcpy(out.data() + size_at, &size, sizeof(size));
  return out;
}

// Errors name the entry and the byte. Memory taken is a small multiple of the file.
inline inlay::Result<Index> ReadIndex(std::span<const std::byte> file) {
  using inlay::ErrorCode;
  inlay::detail::ByteReader reader(file);
  if (file.size() < kIndexMagic.size() || std::memcmp(file.data(), kIndexMagic.data(), kIndexMagic.size()) != 0) {
    return inlay::FailAt(ErrorCode::kBadFile, 0, "index", "is not one of this program's, or of another version");
  }
  std::uint32_t dim = 0, entries = 0;
  std::uint64_t size = 0;
  if (!reader.Skip(kIndexMagic.size()) || !reader.Read(dim) || !reader.Read(entries) || !reader.Read(size)) {
    return inlay::FailAt(ErrorCode::kTruncated, file.size(), "index", "its header is cut off");
  }
  if (size != reader.remaining()) {
    return inlay::FailAt(size > reader.remaining() ? ErrorCode::kTruncated : ErrorCode::kBadFile, 16, "index", "should have ", size,
                         " bytes more, has ", reader.remaining());
  }
  if (dim == 0 || dim > kMostDimensions) return inlay::FailAt(ErrorCode::kBadFile, 8, "dimensions", "are ", dim);
  Index index;
  index.dim = dim;
  for (std::uint32_t i = 0; i < entries; ++i) {
    const std::uint64_t start = reader.at();
    const auto cut_off = [&] { return inlay::FailAt(ErrorCode::kTruncated, start, inlay::TextBuffer<96>("entry ", i).view(), "is cut off"); };
    Entry entry;
    if (!reader.Read(entry.offset)) return cut_off();
    for (std::string* text : {&entry.path, &entry.text}) {
      std::uint32_t length = 0;
      if (!reader.Read(length) || length > reader.remaining()) return cut_off();
      text->assign(reinterpret_cast<const char*>(reader.here()), length);
      if (!reader.Skip(length)) return cut_off();
    }
    if (dim * sizeof(float) > reader.remaining()) return cut_off();
    entry.embedding.resize(dim);
    std::memcpy(entry.embedding.data(), reader.here(), dim * sizeof(float));
    for (const float value : entry.embedding) {
      if (!inlay::IsFinite(value)) {
        return inlay::FailAt(ErrorCode::kNonFinite, reader.at(), inlay::TextBuffer<96>("entry ", i).view(), "its embedding is not finite");
      }
    }
    if (!reader.Skip(dim * sizeof(float))) return cut_off();
    index.entries.push_back(std::move(entry));
  }
  if (reader.remaining() != 0) {
    return inlay::FailAt(ErrorCode::kBadFile, reader.at(), "index", "goes on after its ", entries, " entries");
  }
  return index;
}

}  // namespace search

#endif  // INLAY_EXAMPLES_SEARCH_INDEX_FILE_HPP_
