#include "pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <new>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

inline void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

using Clock = std::chrono::steady_clock;

// How long a thread spins for a phase of a job before it gives its core to others, and how long for the next job before
// it sleeps: between two tokens of one text the caller needs about a tenth of this.
constexpr auto kSpinInJob = std::chrono::microseconds(30);
constexpr auto kSpinForJob = std::chrono::microseconds(500);

// Waits while `waiting()`, at most for `most` where given; says whether it is over.
template <class Waiting>
bool spin(Waiting waiting, std::chrono::microseconds before_yield, std::chrono::microseconds most) {
    for (int i = 0; i < 64; i++) {
        if (!waiting()) return true;
        pause();
    }
    const auto start = Clock::now();
    for (;;) {
        for (int i = 0; i < 16; i++) {
            if (!waiting()) return true;
            pause();
        }
        const auto spent = Clock::now() - start;
        if (most.count() && spent > most) return false;
        if (spent > before_yield) sched_yield();
    }
}

inline uint64_t phase_of(uint64_t ticket) { return ticket >> 32; }
inline int64_t limit_of(uint64_t ticket) { return static_cast<int64_t>(ticket >> 16 & 0xffff); }
inline int64_t next_of(uint64_t ticket) { return static_cast<int64_t>(ticket & 0xffff); }

}  // namespace

// A forked process has the pools' memory but only the thread that forked: each pool begins anew there.
struct Forks {
    std::mutex mutex;
    std::vector<Pool*> pools;

    static Forks& all() {
        static Forks* forks = [] {
            pthread_atfork([] { all().mutex.lock(); }, [] { all().mutex.unlock(); },
                           [] {
                               for (Pool* each : all().pools) each->forget();
                               all().mutex.unlock();
                           });
            return new Forks;
        }();
        return *forks;
    }
};

Pool::Pool(int threads) : threads_(threads), slots_(new Slot[threads]) {
    std::lock_guard<std::mutex> guard(Forks::all().mutex);
    Forks::all().pools.push_back(this);
}

Pool::~Pool() {
    {
        std::lock_guard<std::mutex> guard(Forks::all().mutex);
        auto& pools = Forks::all().pools;
        pools.erase(std::find(pools.begin(), pools.end(), this));
    }
    {
        std::lock_guard<std::mutex> guard(mutex_);
        stop_.store(true);
    }
    wake_.notify_all();
    for (auto& each : workers_) each.join();
}

void Pool::forget() {
    new std::vector<std::thread>(std::move(workers_));  // never destroyed: they are not there to be joined
    workers_.clear();
    new (&mutex_) std::mutex;
    new (&claimed_) std::mutex;
    new (&wake_) std::condition_variable;
    parked_.store(0);
    uint64_t phase = 0;
    for (int i = 0; i < threads_; i++) phase = std::max(phase, phase_of(slots_[i].ticket.load()));
    for (int i = 0; i < threads_; i++) slots_[i].ticket.store(phase << 32);
    over_.store(phase);
}

void Pool::run(Job& job) {
    for (int i = static_cast<int>(workers_.size()) + 1; i < threads_; i++) workers_.emplace_back([this, i] { serve(i); });
    const int64_t chunks = job.advance(0);
    if (chunks == 0) return;
    job_ = &job;
    publish((phase_of(slots_[0].ticket.load()) + 1) & 0xffffffff, chunks);
    if (parked_.load() > 0) {
        std::lock_guard<std::mutex> parked(mutex_);
        wake_.notify_all();
    }
    work(0, true);
}

void Pool::publish(uint64_t phase, int64_t chunks) {
    chunks_ = chunks;
    owed_ = chunks + 1;
    done_.store(0, std::memory_order_relaxed);
    if (chunks == 0) over_.store(phase, std::memory_order_relaxed);
    // The caller's slot is the last: when it sees that the job is over, nobody writes to any slot any more.
    for (int i = threads_ - 1; i >= 0; i--) {
        const int64_t first = chunks * i / threads_, last = chunks * (i + 1) / threads_;
        slots_[i].ticket.store(phase << 32 | static_cast<uint64_t>(last - first) << 16);
    }
}

// published: this thread has published the phase that it begins with, and owes one for that.
void Pool::work(int thread, bool published) {
    uint64_t phase = phase_of(slots_[thread].ticket.load(std::memory_order_acquire));
    int64_t finished = 0;
    for (;;) {
        finished += published;
        published = false;
        for (int k = 0; k < threads_; k++) {
            const int owner = thread + k < threads_ ? thread + k : thread + k - threads_;
            auto& ticket = slots_[owner].ticket;
            for (;;) {
                uint64_t taken = ticket.load(std::memory_order_acquire);
                if (next_of(taken) >= limit_of(taken)) break;
                taken = ticket.fetch_add(1, std::memory_order_acq_rel);
                if (next_of(taken) >= limit_of(taken)) break;
                phase = phase_of(taken);
                job_->chunk(chunks_ * owner / threads_ + next_of(taken), thread);
                finished++;
            }
        }
        if (finished > 0) {
            const int64_t owed = owed_;
            const int64_t all = done_.fetch_add(finished, std::memory_order_acq_rel) + finished;
            finished = 0;
            if (all == owed) {
                const uint64_t next = (phase + 1) & 0xffffffff;
                const int64_t chunks = job_->advance(thread);
                publish(next, chunks);
                // Not by over_: the caller may have run and ended another job since.
                if (chunks == 0) return;
                phase = next;
                published = true;
                continue;
            }
        }
        auto& own = slots_[thread].ticket;
        if (over_.load(std::memory_order_relaxed) != phase)
            spin([&] { return phase_of(own.load(std::memory_order_acquire)) == phase; }, kSpinInJob,
                 std::chrono::microseconds(0));
        phase = phase_of(own.load(std::memory_order_acquire));
        if (over_.load(std::memory_order_relaxed) == phase) return;
    }
}

void Pool::serve(int thread) {
    auto& own = slots_[thread].ticket;
    uint64_t seen = over_.load();
    for (;;) {
        const auto idle = [&] {
            return phase_of(own.load()) == seen && !stop_.load(std::memory_order_relaxed);
        };
        if (!spin(idle, kSpinForJob, kSpinForJob)) {
            std::unique_lock<std::mutex> lock(mutex_);
            parked_.fetch_add(1);
            wake_.wait(lock, [&] { return !idle(); });
            parked_.fetch_sub(1);
        }
        if (stop_.load()) return;
        work(thread, false);
        seen = over_.load();
    }
}
