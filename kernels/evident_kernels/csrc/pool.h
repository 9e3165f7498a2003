// Threads that work through the phases of a job together, chunk by chunk.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

// Work that is cut into phases, and each phase into chunks that may run at the same time.
class Job {
   public:
    virtual ~Job() = default;
    // Called by one thread when every chunk of the phase before is done: does what is serial, and says how many chunks
    // the next phase has (at least one), or 0 when the job is done.
    virtual int64_t advance(int thread) = 0;
    virtual void chunk(int64_t index, int thread) = 0;
};

// A phase ends when its chunks are done, not when every thread has come by: a thread that the system has taken off its
// core holds the others up only if it holds a chunk. Each thread has its own run of chunks, which lie next to one another
// in memory, and takes others' when it is through.
//
// A thread's chunks are given out by one 64-bit ticket: phase (32 bits), how many chunks (16), next one (16). Taking one
// is a single addition, which tells the phase the chunk belongs to; so a thread that comes late can take no chunk of a
// phase that is over, and one that it does take keeps that phase from ending.
class Pool {
   public:
    static constexpr int64_t kMostChunks = 32768;  // of one thread in one phase

    explicit Pool(int threads);
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    int threads() const { return threads_; }
    // Runs a job on the calling thread and the pool's; one at a time, which holding `claim()` sees to.
    void run(Job& job);
    std::unique_lock<std::mutex> claim() { return std::unique_lock<std::mutex>(claimed_); }

   private:
    struct alignas(64) Slot {
        std::atomic<uint64_t> ticket{0};
    };

    friend struct Forks;
    void forget();
    void publish(uint64_t phase, int64_t chunks);
    void work(int thread, bool published);
    void serve(int thread);

    const int threads_;
    std::unique_ptr<Slot[]> slots_;
    alignas(64) std::atomic<int64_t> done_{0};
    alignas(64) std::atomic<uint64_t> over_{0};  // the phase at which the last job ended
    Job* job_ = nullptr;
    int64_t chunks_ = 0;  // of the phase
    int64_t owed_ = 0;    // chunks_, and one for whoever publishes it
    std::mutex mutex_, claimed_;
    std::condition_variable wake_;
    std::atomic<int> parked_{0};
    std::atomic<bool> stop_{false};
    std::vector<std::thread> workers_;
};
