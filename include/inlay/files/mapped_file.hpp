// A file's bytes for hosts with an operating system: mapped where POSIX offers it, read into memory elsewhere.
#ifndef INLAY_FILES_MAPPED_FILE_HPP_
#define INLAY_FILES_MAPPED_FILE_HPP_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#else
#include <cstdio>

#include "inlay/core/owned_buffer.hpp"
#endif

#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"

INLAY_BEGIN_NAMESPACE

// Owns the mapping, read-only. Movable, not copyable; bytes() stay where they are when it is moved. The bytes start at
// a page (elsewhere: at a multiple of kAlignment), borrowed ones where they are. An empty file is a mapping of no bytes.
//
// The file must not be truncated while it is mapped: the system then ends the process at the next access (SIGBUS), and
// no library can turn that into an error. Replace model files by renaming a new one over them.
class MappedFile {
 public:
  MappedFile() = default;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }

  // A file that is in memory already, as one that is linked into the program. Owns nothing: the bytes outlive it.
  static MappedFile Borrow(std::span<const std::byte> bytes) {
    MappedFile file;
    file.bytes_ = bytes;
    return file;
  }

  // Gives the memory of what has been read back to the system, for files that are read once. The bytes stay valid: what is
  // looked at again is read from the file again. Does nothing where the file is not mapped.
  void ReleasePages() const {
#if defined(__unix__) || defined(__APPLE__)
    if (mapped_) ::madvise(const_cast<std::byte*>(bytes_.data()), bytes_.size(), MADV_DONTNEED);
#endif
  }

#if defined(__unix__) || defined(__APPLE__)
  MappedFile(MappedFile&& other) noexcept
      : mapped_(std::exchange(other.mapped_, false)), bytes_(std::exchange(other.bytes_, {})) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    if (this != &other) {
      Unmap();
      mapped_ = std::exchange(other.mapped_, false);
      bytes_ = std::exchange(other.bytes_, {});
    }
    return *this;
  }
  ~MappedFile() { Unmap(); }

  // kSystem when the file cannot be opened or mapped, or is not a regular file (a directory, pipe or device).
  static Result<MappedFile> Open(const char* path) {
    if (path == nullptr) return Fail(ErrorCode::kInvalidArgument, "path", "is null");
    // O_NONBLOCK: opening a pipe would otherwise wait for its writer. It has no effect on regular files.
    const int descriptor = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) return SystemError(path, "cannot be opened", errno);
    Result<MappedFile> mapped = Map(descriptor, path);
    ::close(descriptor);
    return mapped;
  }

 private:
  static Result<MappedFile> Map(int descriptor, const char* path) {
    struct stat status {};
    if (::fstat(descriptor, &status) != 0) return SystemError(path, "cannot be examined", errno);
    if (S_ISDIR(status.st_mode)) return Fail(ErrorCode::kSystem, path, "is a directory");
    if (!S_ISREG(status.st_mode)) return Fail(ErrorCode::kSystem, path, "is not a regular file");
    MappedFile file;
    if (status.st_size == 0) return file;
    if (static_cast<std::uint64_t>(status.st_size) > std::numeric_limits<std::size_t>::max()) {
      return Fail(ErrorCode::kTooLarge, path, "has ", status.st_size, " bytes, more than this machine can address");
    }
    const std::size_t size = static_cast<std::size_t>(status.st_size);
    void* start = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0);
    if (start == MAP_FAILED) return SystemError(path, "cannot be mapped", errno);
    file.mapped_ = true;
    file.bytes_ = {static_cast<const std::byte*>(start), size};
    return file;
  }

  static Error SystemError(const char* path, std::string_view what, int number) {
    const std::string_view why = number == ENOENT || number == ENOTDIR  ? "no such file"
                                 : number == EACCES || number == EPERM  ? "permission denied"
                                 : number == EMFILE || number == ENFILE ? "too many open files"
                                 : number == ENOMEM                     ? "out of memory"
                                                                        : "the system refused";
    return Fail(ErrorCode::kSystem, path, what, ": ", why, " (errno ", number, ")");
  }

  void Unmap() {
    if (mapped_) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
    mapped_ = false;
    bytes_ = {};
  }

  bool mapped_ = false;  // by this object, which then unmaps it
#else
  MappedFile(MappedFile&& other) noexcept
      : buffer_(std::move(other.buffer_)), bytes_(std::exchange(other.bytes_, {})) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    buffer_ = std::move(other.buffer_);
    bytes_ = std::exchange(other.bytes_, {});
    return *this;
  }

  // Reads the whole file. kSystem when it cannot be opened or read, kOutOfMemory when it does not fit.
  static Result<MappedFile> Open(const char* path) {
    if (path == nullptr) return Fail(ErrorCode::kInvalidArgument, "path", "is null");
    std::FILE* stream = std::fopen(path, "rb");
    if (stream == nullptr) return Fail(ErrorCode::kSystem, path, "cannot be opened");
    Result<MappedFile> file = Read(stream, path);
    std::fclose(stream);
    return file;
  }

 private:
  static Result<MappedFile> Read(std::FILE* stream, const char* path) {
    MappedFile file;
    std::size_t size = 0;
    // Grown by doubling, because the length that ftell reports is limited to long.
    for (std::size_t capacity = std::size_t{1} << 20;; capacity *= 2) {
      INLAY_ASSIGN_OR_RETURN(OwnedBuffer larger, OwnedBuffer::Create(capacity, path));
      for (std::size_t i = 0; i < size; ++i) larger.bytes()[i] = file.buffer_.bytes()[i];
      file.buffer_ = std::move(larger);
      size += std::fread(file.buffer_.bytes().data() + size, 1, capacity - size, stream);
      if (std::ferror(stream) != 0) return Fail(ErrorCode::kSystem, path, "cannot be read");
      if (size < capacity) break;
    }
    file.bytes_ = file.buffer_.bytes().first(size);
    return file;
  }

  OwnedBuffer buffer_;
#endif

  std::span<const std::byte> bytes_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_FILES_MAPPED_FILE_HPP_
